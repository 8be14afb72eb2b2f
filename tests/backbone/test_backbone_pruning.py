"""A ViT that drops patches: what is kept, that masks and removal agree, and that dropped patches come back."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from dvt.backbone.load import load_backbone
from dvt.backbone.pruning import (
    Pruning,
    blocks_passed,
    draw_kept,
    drawn_masks,
    masked_weights,
    put_back,
    take,
    watched_stages,
)
from dvt.backbone.sources.timm_pruned import masked_pass, removing_pass
from dvt.backbone.vit import make_reader
from dvt.backbone.wrap import wrap_backbone
from dvt.errors import BackboneError


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def images():
    return torch.rand(2, 3, 96, 80, generator=rng())


@pytest.fixture
def pruned():
    """vit_micro with untrained predictors whose scores differ, and a linear layer that is no identity."""
    backbone = load_backbone("vit_micro", device="cpu", image_size=96)
    pruning = Pruning.of_depth(192, 6, 0.7)
    with torch.no_grad():
        for parameter in pruning.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=rng(1)) * 0.05)
    backbone.reader.drop_patches(pruning.requires_grad_(False))
    return backbone


def tokens_of(backbone, images):
    """(B, P + N, C) before the first block."""
    vit = backbone.vit
    return vit._pos_embed(vit.patch_embed((images - backbone.mean) / backbone.std))


@torch.no_grad()
def test_masked_attention_is_attention_on_the_kept_tokens(pruned, images):
    """The choice of the removal, as masks: the same features of kept and dropped patches, after every block."""
    tokens, layers, shares = tokens_of(pruned, images), list(range(6)), []
    with watched_stages() as stages:
        removed = removing_pass(pruned.vit, tokens, layers, 1)

    def decide(probabilities, number):
        return torch.zeros(probabilities.shape[:2]).scatter(1, stages[number].kept, 1.0)

    masked = masked_pass(pruned.vit, tokens, layers, 1, decide, shares)
    for one, other in zip(masked, removed, strict=True):
        scale = one.patches.abs().max()
        torch.testing.assert_close(one.patches / scale, other.patches / scale, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(one.prefix / scale, other.prefix / scale, atol=1e-6, rtol=1e-5)
    assert [(30 * share).round().tolist() for share in shares] == [[21, 21], [15, 15], [10, 10]]


def test_later_blocks_get_as_many_tokens_as_promised(pruned, images):
    counts = []
    for block in pruned.vit.blocks:
        block.register_forward_hook(lambda module, given, output: counts.append(given[0].shape[1] - 1))
    with watched_stages() as stages:
        features = pruned(images)
    assert counts == [30, 21, 21, 15, 10, 10] and features.patches.shape == (2, 6, 5, 192)
    assert [stage.scores.shape[1] for stage in stages] == [30, 21, 15]
    passed = blocks_passed(stages, (1, 3, 4), 6, 30)
    assert [int((passed == number).sum()) for number in (1, 3, 4, 6)] == [2 * 9, 2 * 6, 2 * 5, 2 * 10]
    best = stages[0].scores[0].topk(21).indices
    assert {*best.tolist()} == {*stages[0].kept[0].tolist()} == {*(passed[0] > 1).nonzero()[:, 0].tolist()}


def test_patches_come_back_in_their_order(pruned, images):
    """With blocks that change nothing, and the identity for those that come back, every patch is what it was."""
    for index in range(6):
        pruned.vit.blocks[index] = nn.Identity()
    pruned.pruning.restore.load_state_dict({"weight": torch.eye(192), "bias": torch.zeros(192)})
    (found,) = removing_pass(pruned.vit, tokens := tokens_of(pruned, images), [5], 1)
    assert torch.equal(found.patches, tokens[:, 1:]) and torch.equal(found.prefix, tokens[:, :1])
    pruned.pruning.restore.bias.fill_(1.0)
    (moved,) = removing_pass(pruned.vit, tokens, [5], 1)
    assert ((moved.patches - tokens[:, 1:]).abs().amax(dim=2) > 0.5).sum(dim=1).tolist() == [20, 20]


def test_take_and_put_back_are_inverse():
    tokens, numbers = torch.rand(2, 7, 3, generator=rng()), torch.tensor([[5, 0, 3], [6, 1, 2]])
    some = take(tokens, numbers)
    assert torch.equal(some[1, 0], tokens[1, 6])
    assert torch.equal(put_back(tokens.clone().fill_(9), some, numbers)[0, [0, 3, 5]], tokens[0, [0, 3, 5]])


def test_masked_weights_by_hand():
    """Three tokens, the second dropped: it is seen by itself alone."""
    logits = torch.tensor([[1.0, 100.0, 3.0], [2.0, 5.0, 1.0], [6.0, 300.0, 2.0]]).log()[None, None]
    expected = torch.tensor([[1 / 4, 0, 3 / 4], [2 / 8, 5 / 8, 1 / 8], [6 / 8, 0, 2 / 8]])
    kept = torch.tensor([[1.0, 0.0, 1.0]], requires_grad=True)
    weights = masked_weights(logits, kept)
    torch.testing.assert_close(weights[0, 0], expected)
    assert weights[0, 0, 0, 1] == 0
    far = masked_weights(torch.tensor([[[[0.0, 500.0]]], [[[0.0, -500.0]]]]).expand(2, 1, 2, 2), torch.ones(2, 2))
    assert far.isfinite().all()
    hidden = masked_weights(torch.tensor([0.0, 500.0]).expand(1, 1, 2, 2), mask := kept[:, :2])
    (gradient,) = torch.autograd.grad(hidden[0, 0, 0, 0], mask)
    assert hidden[0, 0, 0].tolist() == [1.0, 0.0] and gradient.isfinite().all() and gradient[0, 1] < 0


def test_the_ratio_loss_by_hand():
    """Shares 0.5 and 0.7 for 0.5; 0.25 and 0.15 for 0.25; 0.125 twice: (0 + 0.04 + 0 + 0.01 + 0 + 0) / 6."""
    shares = [torch.tensor(pair) for pair in ([0.5, 0.7], [0.25, 0.15], [0.125, 0.125])]
    assert float(Pruning(8, (1, 2, 3), 0.5).ratio_loss(shares)) == pytest.approx(0.05 / 6)


def test_draws_are_zero_or_one_and_follow_the_probabilities():
    probabilities = torch.tensor([0.2, 0.8]).expand(1, 20_000, 2).log().requires_grad_()
    drawn = draw_kept(probabilities, rng())
    assert {*drawn.unique().tolist()} == {0.0, 1.0} and float(drawn.detach().mean()) == pytest.approx(0.8, abs=0.01)
    drawn.sum().backward()
    assert probabilities.grad[..., 1].min() >= 0 and float(probabilities.grad[..., 1].max()) > 0.1
    assert torch.equal(drawn, draw_kept(probabilities, rng())) and not torch.equal(
        drawn, draw_kept(probabilities, rng(1))
    )


def test_every_predictor_learns(pruned, images):
    pruned.pruning.requires_grad_(True)
    with drawn_masks(3) as draws:
        features = pruned.forward_layers(images, [2])[-1]
    features.patches.square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in pruned.pruning.parameters())
    assert all(bool(((share > 0) & (share <= 1)).all()) for share in draws.shares) and len(draws.shares) == 3
    assert all(bool((later < earlier).all()) for earlier, later in pairwise(draws.shares)), "none comes back on the way"
    assert torch.equal(pruned(images).patches, pruned(images).patches), "outside of it nothing is drawn"


@torch.no_grad()
def test_an_untrained_predictor_keeps_the_share():
    predictor = Pruning.of_depth(192, 6, 0.7).predictors["1"]
    shares = predictor(torch.randn(4, 50, 192, generator=rng())).exp()
    assert float(shares[..., 1].mean()) == pytest.approx(0.7, abs=0.1)


@torch.no_grad()
def test_a_kept_patch_is_decided_among_those_that_are_left():
    """The mean is over patches that are left: what was dropped says nothing."""
    predictor, patches = Pruning.of_depth(16, 8, 0.5).predictors["4"], torch.randn(1, 6, 16, generator=rng())
    left = torch.tensor([[1.0, 0, 1, 1, 0, 1]])
    other = patches.clone()
    other[:, [1, 4]] = 7.0
    numbers = torch.tensor([[0, 2, 3, 5]])
    expected = predictor(take(patches, numbers))
    torch.testing.assert_close(predictor(other, left)[:, numbers[0]], expected)
    assert not torch.allclose(predictor(other)[:, numbers[0]], expected, atol=1e-4)


@pytest.mark.parametrize(
    "name", ["vit_small_patch16_dinov3", "eva02_base_patch16_clip_224", "vit_medium_patch16_rope_reg1_gap_256.sbb_in1k"]
)
def test_a_vit_with_another_attention_is_refused_by_name(name):
    with torch.device("meta"):
        reader = make_reader(name)
        with pytest.raises(BackboneError, match=f"{name.partition('.')[0]}.* cannot drop patches: its attention"):
            reader.drop_patches(Pruning(8, (1,), 0.5))


def test_a_vit_of_another_library_is_refused_by_name():
    wrapped = wrap_backbone(nn.Conv2d(3, 8, 4, 4), patch=4, name="stem", image_size=16, device="cpu")
    with pytest.raises(BackboneError, match="module:stem cannot drop patches: only plain ViTs of timm"):
        wrapped.reader.drop_patches(Pruning(8, (1,), 0.5))


def test_three_blocks_are_too_few():
    with pytest.raises(BackboneError, match="takes at least 4, and the ViT has 3"):
        Pruning.of_depth(64, 3, 0.7)


@pytest.mark.parametrize("name", ["vit_small_patch14_reg4_dinov2", "deit_tiny_distilled_patch16_224"])
@torch.no_grad()
def test_vits_with_more_tokens_before_the_patches(name, images):
    backbone = load_backbone(name, weights="random", device="cpu", image_size=(6 * 14, 5 * 14) if "14" in name else 96)
    batch = torch.rand(1, 3, *backbone.grid.image_hw, generator=rng())
    tokens = tokens_of(backbone, batch)
    pruning = Pruning.of_depth(backbone.num_channels, 12, 0.5)
    whole = backbone(batch)
    backbone.reader.drop_patches(pruning)
    count = backbone.num_prefix_tokens
    with watched_stages() as stages:
        (removed,) = removing_pass(backbone.vit, tokens, [11], count)
    (masked,) = masked_pass(
        backbone.vit, tokens, [11], count,
        lambda given, number: torch.zeros(given.shape[:2]).scatter(1, stages[number].kept, 1.0), [],
    )  # fmt: skip
    torch.testing.assert_close(masked.patches, removed.patches, atol=1e-5, rtol=1e-5)
    assert backbone(batch).prefix.shape == whole.prefix.shape == (1, count, backbone.num_channels)
