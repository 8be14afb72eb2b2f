"""The depth head, its losses, its schedules, its metrics: each against the definition."""

import math

import pytest
import torch
from recorder import Recorder
from torch.nn import functional

from dvt.backbone.features import Features
from dvt.errors import EvaluationError
from dvt.evaluation.config.depth import (
    GradientLoss,
    HeadConfig,
    LinearDepthConfig,
    LossConfig,
    OptimizerConfig,
    PaperConfig,
)
from dvt.evaluation.datasets.samples import Sample
from dvt.evaluation.patches import upsample
from dvt.evaluation.probes.depth_head import (
    Batch,
    DepthHead,
    depth_loss,
    fit_head,
    gradient_loss,
    learning_rate_at,
    log_error,
    momentum_at,
    scale_invariant_loss,
    with_class_token,
)
from dvt.evaluation.probes.depth_training import augment
from dvt.grid import PatchGrid


@pytest.fixture
def rng():
    return torch.Generator().manual_seed(0)


def random_head(channels, rng, **options):
    head = DepthHead(channels, HeadConfig(**options), rng)
    torch.nn.init.normal_(head.logits.weight, generator=rng)
    torch.nn.init.normal_(head.logits.bias, generator=rng)
    return head


def test_the_head_is_the_papers(rng):
    """Concatenate the class token, upsample the features, 1 x 1 convolution, relu + 0.1, normalise, expectation."""
    patches, prefix = torch.randn(2, 3, 4, 5, generator=rng), torch.randn(2, 2, 5, generator=rng)
    grid = PatchGrid.of((24, 32), 8)
    head = random_head(10, rng)
    with torch.no_grad():
        found = head(with_class_token(Features(patches=patches, prefix=prefix, grid=grid)), grid)
    both = torch.cat([patches, prefix[:, :1, None].expand(2, 3, 4, 5)], dim=-1).permute(0, 3, 1, 2)
    large = functional.interpolate(both, scale_factor=4, mode="bilinear", align_corners=False)
    logits = functional.conv2d(large, head.logits.weight[:, :, None, None], head.logits.bias)
    weights = logits.relu() + 0.1
    weights = weights / weights.sum(dim=1, keepdim=True)
    bins = torch.linspace(0.001, 10, 256)
    expected = (weights * bins[:, None, None]).sum(dim=1)
    assert found.shape == (2, 12, 16)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-5)


def test_without_class_token_the_patches_are_all(rng):
    patches = torch.randn(2, 3, 4, 5, generator=rng)
    features = Features(patches=patches, prefix=torch.zeros(2, 0, 5), grid=PatchGrid.of((24, 32), 8))
    assert torch.equal(with_class_token(features), patches)


def test_a_head_that_knows_nothing_says_the_middle(rng):
    head = DepthHead(3, HeadConfig(max_depth=4.0), rng)
    torch.nn.init.zeros_(head.logits.weight)
    depth = head(torch.randn(1, 2, 2, 3, generator=rng), PatchGrid.of((16, 16), 8))
    torch.testing.assert_close(depth, torch.full((1, 8, 8), 2.0005))


def test_a_head_that_measures_in_a_unit_does_not_see_the_scale(rng):
    tokens, grid = torch.randn(1, 2, 2, 3, generator=rng), PatchGrid.of((16, 16), 8)
    one, other = (random_head(3, torch.Generator().manual_seed(1)) for _ in range(2))
    other.measure_in(torch.tensor(1000.0))
    torch.testing.assert_close(other(1000 * tokens, grid), one(tokens, grid))


def test_the_scale_invariant_loss_by_hand():
    errors = torch.tensor([0.1, 0.3])
    full = scale_invariant_loss(errors, 0.15, with_variance=True)
    assert float(full) == pytest.approx(math.sqrt(0.02 + 0.15 * 0.04), abs=1e-6)
    assert float(scale_invariant_loss(errors, 0.15, with_variance=False)) == pytest.approx(0.2 * math.sqrt(0.15))
    assert float(scale_invariant_loss(torch.full((9,), 0.7), 0.0, with_variance=True)) < 1e-5


def test_the_gradient_loss_by_hand():
    """A slope of 0.1 a column: 0.1 between neighbours, 0.2 between every second, 0.4 between every fourth."""
    error = (0.1 * torch.arange(8.0)).expand(1, 8, 8)
    known = torch.ones(1, 8, 8, dtype=torch.bool)
    for scales, expected in ((1, 0.1), (2, 0.3), (3, 0.7), (4, 0.7)):  # at every eighth pixel there are no neighbours
        assert float(gradient_loss(error, known, scales)) == pytest.approx(expected, abs=1e-6)
    assert float(gradient_loss(error.mT, known, 2)) == pytest.approx(0.3, abs=1e-6)
    assert float(gradient_loss(torch.ones(1, 8, 8), known, 4)) == 0


def test_the_gradient_loss_looks_at_known_neighbours_alone():
    error = torch.zeros(1, 4, 4)
    error[0, 1, 1] = 100
    known = torch.ones(1, 4, 4, dtype=torch.bool)
    known[0, 1, 1] = False
    assert float(gradient_loss(error, known, 2)) == 0
    assert float(gradient_loss(error, torch.zeros_like(known), 2)) == 0


@pytest.fixture
def batch(rng):
    target = 1 + 3 * torch.rand(2, 16, 16, generator=rng)
    predicted = (1 + 3 * torch.rand(2, 16, 16, generator=rng)).requires_grad_()
    return predicted, target, torch.rand(2, 16, 16, generator=rng) > 0.2


def test_the_original_gradient_loss_is_always_zero(batch):
    """The released code slices the first two axes of (batch, 1, y, x): for two images nothing is left."""
    predicted, target, known = batch
    error = log_error(predicted, target, known)[:, None]
    assert (error[:-2] - error[2:]).numel() == 0 and (error[:, :-2] - error[:, 2:]).numel() == 0
    options = LossConfig(gradient=GradientLoss.original), LossConfig(gradient_weight=0), LossConfig()
    original, without, correct = (depth_loss(predicted, target, known, 100, each).item() for each in options)
    assert original == without < correct - 0.1


def test_the_loss_is_the_sum_of_its_terms(batch):
    predicted, target, known = batch
    error = (predicted + 1e-3).log() - (target + 1e-3).log()
    spread, mean = error[known].var(), error[known].mean()
    slopes = gradient_loss(error * known, known, 4)
    late, early = (depth_loss(predicted, target, known, step, LossConfig()) for step in (100, 99))
    torch.testing.assert_close(late, (spread + 0.15 * mean**2).sqrt() + 0.5 * slopes)
    torch.testing.assert_close(early, math.sqrt(0.15) * mean.abs() + 0.5 * slopes)


@pytest.mark.parametrize("known", ["all", "one", "none"])
def test_the_loss_has_finite_slopes_everywhere(known):
    target = torch.full((1, 4, 4), 2.0)
    predicted = target.clone().requires_grad_()
    mask = torch.zeros(1, 4, 4, dtype=torch.bool)
    mask.flatten()[: {"all": 16, "one": 1, "none": 0}[known]] = True
    depth_loss(predicted, torch.where(mask, target, 0), mask, 100, LossConfig()).backward()
    assert predicted.grad.isfinite().all()


def test_the_schedules_of_the_paper():
    config = OptimizerConfig()
    assert learning_rate_at(0, config) == pytest.approx(5e-6)
    assert learning_rate_at(6_400, config) == pytest.approx(5e-3 * 0.5005 * (1 + math.cos(math.pi / 6)) / 2)
    assert learning_rate_at(12_800, config) == pytest.approx(5e-3 * 0.75)
    assert learning_rate_at(38_399, config) < 1e-8
    assert [momentum_at(step, config) for step in (0, 11_520, 38_400)] == pytest.approx([0.95, 0.85, 0.95])
    assert momentum_at(5_760, config) == pytest.approx(0.9)


def test_a_head_learns_what_is_there_and_says_when_it_breaks(rng):
    grid = PatchGrid.of((32, 32), 8)
    tokens = 8 * torch.rand(4, 4, 4, 1, generator=rng) - 4
    batch = Batch(tokens, grid, 2.5 + 0.375 * upsample(tokens, grid, (16, 16))[..., 0])
    head = DepthHead(1, HeadConfig(num_bins=32, max_depth=5.0), rng)
    recorder = Recorder()
    recorder.start(60, "steps")

    def fit(**options):
        optimizer = OptimizerConfig(num_steps=60, warmup_steps=6, **options)
        config = LinearDepthConfig(loss=LossConfig(variance_from=5))
        fit_head(head, [batch] * 60, config, optimizer, recorder)

    def error():
        return (head(tokens, grid) - batch.depth).abs().mean().item()

    before = error()
    fit(learning_rate=0.1)
    assert error() < 0.1 < before and recorder.works == [["steps", 60, 60]]
    with pytest.raises(
        EvaluationError, match=r"no longer finite after its training. Set a smaller learning_rate than 1e"
    ):
        fit(learning_rate=1e38)


def test_rotation_moves_what_is_seen_and_its_depth():
    wide = torch.zeros(21, 41)
    wide[10, 40] = 1  # at the right end, 20 px from the middle: rotated by 2.5 degrees it is 0.87 px higher or lower
    config = PaperConfig(rotation_share=1, rotation_degrees=2.5, flip_share=0, colour_share=0)
    angles = []
    for seed in range(20):
        image, depth = augment(
            Sample("wide", wide.expand(3, -1, -1), wide), (21, 41), config, torch.Generator().manual_seed(seed)
        )
        rows = (image[0] * torch.arange(21.0)[:, None]).sum() / image[0].sum()
        angles.append(math.degrees(math.asin(float(10 - rows) / 20)))
        assert set(depth.unique().tolist()) <= {0.0, 1.0}, "depth is never interpolated"
    assert min(angles) < -1.2 and max(angles) > 1.2 and max(map(abs, angles)) < 2.8


def scene(hw=(40, 60)):
    """A picture whose red is a tenth of its depth."""
    depth = 1 + 5 * torch.rand(hw, generator=torch.Generator().manual_seed(1))
    return Sample("scene", torch.stack([depth / 10, torch.zeros(hw), torch.zeros(hw)]), depth)


def test_depth_moves_with_its_picture():
    config = PaperConfig(rotation_share=0, flip_share=0.5, colour_share=0)
    shapes, seen = set(), set()
    for seed in range(8):
        picture, depth = augment(scene(), (20, 32), config, torch.Generator().manual_seed(seed))
        torch.testing.assert_close(picture[0], depth / 10)
        shapes.add(tuple(depth.shape))
        seen.add(float(depth[0, 0]))
    assert shapes == {(20, 32)} and len(seen) == 8
    again = augment(scene(), (20, 32), config, torch.Generator().manual_seed(7))
    assert torch.equal(again[0], picture) and torch.equal(again[1], depth)


def test_a_picture_smaller_than_the_crop_is_taken_as_it_is():
    picture, depth = augment(scene((10, 60)), (20, 32), PaperConfig(rotation_share=0), torch.Generator().manual_seed(0))
    assert picture.shape == (3, 10, 32) and depth.shape == (10, 32)


def test_turned_pictures_lose_depth_at_the_corners_and_colours_change_nothing_but_colours():
    turning = PaperConfig(rotation_share=1, rotation_degrees=20, flip_share=0, colour_share=0)
    rng = torch.Generator().manual_seed(2)
    _, depth = augment(scene(), (40, 60), turning, rng)
    assert 0 < float((depth == 0).float().mean()) < 0.5
    colours = PaperConfig(rotation_share=0, flip_share=0, colour_share=1)
    picture, depth = augment(scene(), (40, 60), colours, torch.Generator().manual_seed(2))
    assert torch.equal(depth, scene().target)
    ratio = picture[0] / scene().image[0]
    assert not torch.allclose(ratio, torch.ones_like(ratio)) and 0.5 < float(ratio.min()) <= float(ratio.max()) < 2
    assert float(picture.min()) >= 0 and float(picture.max()) <= 1
