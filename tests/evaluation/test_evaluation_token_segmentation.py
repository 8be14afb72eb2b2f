"""The head of semantic tokens: a linear probe at its start, with context after training, and as a protocol."""

import pytest
import torch
from mean_colours import MeanColours
from tiny_camvid import write_camvid
from torch.nn import functional

from dvt.errors import ConfigError, EvaluationError
from dvt.evaluation.config.layout import Layout
from dvt.evaluation.config.segmentation import LinearProtocol, LinearSegmentationConfig, TokensProbeConfig
from dvt.evaluation.probes.segmenter import train_segmenter
from dvt.evaluation.probes.token_segmentation import TokenSegmenter
from dvt.evaluation.tasks.linear_segmentation import LinearSegmentation


def marked_scenes(count=40, seed=0):
    """(N, 4, 4, 6) features of which one patch, anywhere, says which class all patches have; (N, 16, 16) labels."""
    rng = torch.Generator().manual_seed(seed)
    features = torch.randn(count, 4, 4, 6, generator=rng) * 0.3
    classes, places = (torch.randint(0, most, (count,), generator=rng) for most in (2, 16))
    rows = torch.arange(count)
    features.view(count, 16, 6)[rows, places] = 3 * functional.one_hot(classes, 6).float()
    return features, classes[:, None, None].expand(count, 16, 16)


def accuracy(head, features, labels):
    return float((head(features).argmax(dim=-1) == labels).float().mean())


def test_it_starts_as_a_linear_probe():
    features = torch.randn(3, 4, 5, 6, generator=torch.Generator().manual_seed(0)) * 2 + 7
    for num_layers in (1, 2):
        head = TokenSegmenter(features, num_layers, 3, TokensProbeConfig(num_modules=2), 0)
        standardised = (features - features.mean(dim=(0, 1, 2))) / features.flatten(0, 2).std(dim=0)
        by_patch = head.scores(standardised).permute(0, 3, 1, 2)
        wanted = functional.interpolate(by_patch, (16, 20), mode="bilinear", align_corners=False).permute(0, 2, 3, 1)
        torch.testing.assert_close(head(features), wanted, atol=1e-4, rtol=1e-4)


def test_tokens_tell_every_patch_what_one_patch_says():
    features, labels = marked_scenes()
    new_features, new_labels = marked_scenes(seed=1)
    config = TokensProbeConfig(num_steps=150, learning_rate=1e-2, tokens=4)
    head = TokenSegmenter(features, 1, 2, config, 0)
    assert train_segmenter(head, features, labels, config, 0) is head
    assert accuracy(head, new_features, new_labels) > 0.95
    probe = TokenSegmenter(features, 1, 2, config, 0)
    probe.context = torch.nn.Identity()
    train_segmenter(probe, features, labels, config, 0)
    assert accuracy(probe, new_features, new_labels) < 0.75
    again = TokenSegmenter(features, 1, 2, config, 0)
    train_segmenter(again, features, labels, config, 0)
    assert all(torch.equal(one, other) for one, other in zip(head.parameters(), again.parameters(), strict=True))


def test_tokens_of_one_block_tell_what_the_other_needs():
    """VT-FPN: the mark is in the first of two blocks, and only the second has what the linear map reads."""
    features, labels = marked_scenes()
    both = torch.cat([features, torch.randn(features.shape, generator=torch.Generator().manual_seed(2))], dim=-1)
    config = TokensProbeConfig(num_steps=150, learning_rate=1e-2, tokens=4)
    head = TokenSegmenter(both, 2, 2, config, 0)
    with torch.no_grad():
        head.scores.weight[:, :6] = 0
    head.scores.weight.register_hook(lambda grad: torch.cat([torch.zeros_like(grad[:, :6]), grad[:, 6:]], dim=1))
    train_segmenter(head, both, labels, config, 0)
    assert accuracy(head, both, labels) > 0.95 and head.scores.weight[:, :6].abs().max() == 0


def test_training_that_cannot_work_says_so():
    features, labels = marked_scenes(4)
    config = TokensProbeConfig(num_steps=3, learning_rate=1e37)
    with pytest.raises(EvaluationError, match=r"diverged with semantic_tokens\.learning_rate=1e\+37"):
        train_segmenter(TokenSegmenter(features, 1, 2, config, 0), features, labels, config, 0)
    for options, message in (
        ({"tokens": 0}, r"semantic_tokens\.tokens=0: give at least 1"),
        ({"num_modules": 0}, r"semantic_tokens\.num_modules=0: give at least 1"),
        ({"num_steps": 0}, r"semantic_tokens\.num_steps=0: give at least 1"),
    ):
        with pytest.raises(ConfigError, match=message):
            TokensProbeConfig(**options)


def test_the_protocol_scores_by_pixel(tmp_path):
    write_camvid(tmp_path)
    config = LinearSegmentationConfig(
        image_size=[48, 64],
        layouts=[Layout.usual],
        seeds=2,
        protocol=LinearProtocol.semantic_tokens,
        semantic_tokens=TokensProbeConfig(num_steps=60, learning_rate=3e-2, tokens=3),
    )
    task = LinearSegmentation(config, tmp_path)
    scores = task.evaluate(MeanColours())
    assert set(scores.values) == {"mIoU", "mAcc", "aAcc"} and len(scores.values["mIoU"]) == 2
    assert min(scores.values["aAcc"]) > 60
    about = {"protocol": "semantic_tokens", "tokens": 3, "num_modules": 1}
    assert {name: task.protocol[name] for name in about} == about
