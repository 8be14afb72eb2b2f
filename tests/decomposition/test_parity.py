"""Ours against the original's arithmetic, with the same weights: terms, losses, gradients, update, schedule."""

import pytest
import torch
from reference import stage1

from dvt.decomposition.config import Encoding, GradientConfig, HashGridConfig
from dvt.decomposition.neural_field.fit import FitOptimizer
from dvt.decomposition.neural_field.model import ArtifactMap, NeuralDecomposition, ResidualPredictor, SemanticField
from dvt.decomposition.neural_field.objective import Phase, objective, phase_at
from dvt.grid import PatchGrid
from dvt.schedules import warmup_then_cosine

C, N = 12, 20
GRID = HashGridConfig(n_levels=3, n_features_per_level=2, log2_hashmap_size=8, base_resolution=5, max_resolution=23)


@pytest.fixture
def case():
    torch.manual_seed(0)
    field = SemanticField(C, GRID, Encoding.torch, torch.device("cpu"), 0)
    model = NeuralDecomposition(field, ArtifactMap(PatchGrid.of((32, 48), 16), C, 0.02), ResidualPredictor(C)).double()
    with torch.no_grad():
        field.encoding.table.mul_(1e3)  # so that the field says something
    batch = torch.randn(N, C).double(), torch.rand(N, 2).double(), torch.randint(6, (N,))
    return model, *batch


def weights_of(mlp):
    return [(layer.weight, layer.bias) for layer in mlp if hasattr(layer, "weight")]


def plain_terms(model, raw, xy, index):
    encoding = model.field.encoding
    levels = [(level.scale, level.resolution) for level in encoding.levels]
    f = stage1.mlp(stage1.hash_grid(xy, encoding.table, levels, GRID.log2_hashmap_size), weights_of(model.field.mlp))
    return f, model.artifact.vectors[index], stage1.mlp(raw, weights_of(model.residual.mlp))


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: None if p.grad is None else p.grad.to_dense() for name, p in model.named_parameters()}


def same(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-8)


@pytest.mark.other_types  # float64, for exact comparison
def test_terms(case):
    model, raw, xy, index = case
    for ours, theirs in zip(model(raw, xy, index), plain_terms(model, raw, xy, index), strict=True):
        same(ours, theirs)


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.other_types  # float64, for exact comparison
def test_losses_and_gradients(case, phase):
    model, raw, xy, index = case
    f, g, h = plain_terms(model, raw, xy, index)
    theirs = stage1.loss_joint(f, g, raw) if phase is Phase.joint else stage1.loss_residual(f, g, h, raw)
    ours = objective(model(raw, xy, index), raw, phase, residual_weight=0.1, sparsity_weight=0.02).total
    same(ours, theirs)
    expected, found = gradients(model, theirs), gradients(model, ours)
    for name in expected:
        assert (expected[name] is None) == (found[name] is None), name
        if expected[name] is not None:
            same(found[name], expected[name])
    # G rests in the second phase and h in the first; None, so that Adam does not touch them
    resting = "artifact" if phase is Phase.residual else "residual"
    assert all(found[name] is None for name in found if name.startswith(resting))


@pytest.mark.parametrize("reference", [True, False])
@pytest.mark.other_types  # float64, for exact comparison
def test_one_update_of_adam(case, reference):
    """The released code scales the loss by 1024 and never unscales: its decay is 1e-5 / 1024. Ours is what it says,
    and leaves the hash grid alone."""
    model, raw, xy, index = case
    scale, decay_table = (1024.0, True) if reference else (1.0, False)
    config = GradientConfig(learning_rate=0.003, warmup=0, decay_hash_grid=decay_table, hash_grid=GRID)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    f, g, _ = plain_terms(model, raw, xy, index)
    grads = gradients(model, scale * stage1.loss_joint(f, g, raw))
    optimizer = FitOptimizer(model, config)
    terms = model(raw, xy, index)
    optimizer.step(scale * objective(terms, raw, Phase.joint, residual_weight=0.1, sparsity_weight=0.02).total)
    optimizer.finish()
    for name, parameter in model.named_parameters():
        decay = 1e-5 if reference or "table" not in name else 0.0
        gradient = grads[name]
        expected = before[name] if gradient is None else stage1.adam_step(before[name], gradient, {}, 1, 0.003, decay)
        same(parameter.detach(), expected)


def test_the_scaled_loss_of_the_original_is_a_decay_1024_times_weaker():
    parameter, gradient = torch.tensor([0.5, -2.0]).double(), torch.tensor([1e-6, 3e-6]).double()
    scaled = stage1.adam_step(parameter, 1024 * gradient, {}, 1, 0.01, 1e-5, eps=0)
    weaker = stage1.adam_step(parameter, gradient, {}, 1, 0.01, 1e-5 / 1024, eps=0)
    same(scaled, weaker)


def test_schedule():
    config = GradientConfig()
    for step in (0, 1, 1249, 2500, 2501, 12_500, 12_501, 24_999):
        ours = warmup_then_cosine(step, 25_000, peak=0.01, final=0.001, warmup_steps=25_000 * config.warmup)
        assert ours == pytest.approx(stage1.learning_rate(step), abs=1e-12)
    assert phase_at(12_500, 25_000) is Phase.joint and phase_at(12_501, 25_000) is Phase.residual
    assert phase_at(0, 1) is Phase.joint


@pytest.mark.other_types  # float64, for exact comparison
def test_the_constant_between_f_and_g_is_a_gauge(case):
    """Moving a constant from G to F changes no loss of the first phase."""
    model, raw, xy, index = case
    terms = model(raw, xy, index)
    constant = torch.randn(C).double()
    moved = terms._replace(clean=terms.clean + constant, artifact=terms.artifact - constant)
    options = {"residual_weight": 0.1, "sparsity_weight": 0.02}
    same(objective(moved, raw, Phase.joint, **options).total, objective(terms, raw, Phase.joint, **options).total)


def test_the_artifact_is_read_at_the_nodes_of_the_originals_bilinear_map(case):
    """grid_sample with aligned corners at linspace(-1, 1) reads exactly the stored cells: a lookup."""
    artifact = case[0].artifact
    rows, columns = artifact.hw
    y, x = torch.linspace(-1, 1, rows).double(), torch.linspace(-1, 1, columns).double()
    places = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
    sampled = torch.nn.functional.grid_sample(
        artifact.as_map().permute(2, 0, 1)[None], places[None], align_corners=True, mode="bilinear"
    )[0].permute(1, 2, 0)
    same(artifact(torch.arange(rows * columns)), sampled.reshape(rows * columns, C))
