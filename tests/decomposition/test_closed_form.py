"""The direct solver against dense least squares, written plainly, and its parts by hand."""

from itertools import pairwise

import pytest
import torch

from dvt.decomposition.bilinear import Groups, LinearModel, add_roughness_
from dvt.decomposition.block_tridiagonal import BlockTridiagonal
from dvt.decomposition.closed_form import (
    artifact_pull,
    border_weights,
    context_of_offsets,
    inlier_weights,
    node_counts,
    solve_closed_form,
    solve_weighted,
    squared_errors,
)
from dvt.decomposition.config import ClosedFormConfig
from dvt.decomposition.solution import ViewTokens
from dvt.errors import ConfigError, DecompositionError
from dvt.field import NodeGrid
from dvt.grid import PatchGrid

GRID = PatchGrid.of((48, 64), 16)
NODES = NodeGrid(hw=(4, 5))


def problem(num_views=9, channels=3, seed=0):
    rng = torch.Generator().manual_seed(seed)
    raw = torch.randn(num_views * 12, channels, generator=rng)
    image_xy = torch.rand(num_views * 12, 2, generator=rng)
    weight = torch.rand(num_views * 12, generator=rng) + 0.1
    index = torch.arange(num_views * 12) % 12
    return LinearModel(NODES, image_xy), raw, image_xy, weight, index


def roughness():
    """The quadratic form that pulls neighbouring nodes together, at a pull of one."""
    system = BlockTridiagonal(torch.zeros(4, 5, 5).double(), torch.zeros(3, 5, 5).double())
    add_roughness_(system, 1.0)
    return dense(system)


def dense(system):
    """The matrix in full."""
    rows, size, _ = system.diagonal.shape
    full = torch.block_diag(*system.diagonal)
    for row, block in enumerate(system.below):
        here, after = slice(row * size, (row + 1) * size), slice((row + 1) * size, (row + 2) * size)
        full[after, here], full[here, after] = block, block.T
    assert full.shape == (rows * size, rows * size)
    return full


def dense_matrix(image_xy):
    """A, written as a product of hat functions."""
    columns = (1 - (image_xy[:, :1] * 4 - torch.arange(5)).abs()).clamp(min=0)
    rows = (1 - (image_xy[:, 1:] * 3 - torch.arange(4)).abs()).clamp(min=0)
    return (rows[:, :, None] * columns[:, None, :]).flatten(1)


def test_the_linear_model_equals_its_dense_matrix():
    model, raw, image_xy, weight, _ = problem()
    a = dense_matrix(image_xy)
    values = torch.randn(20, 3)
    torch.testing.assert_close(model.apply(values, slice(0, None)), a @ values)
    torch.testing.assert_close(NODES.interpolate(values, image_xy.reshape(9, 12, 2)).reshape(-1, 3), a @ values)
    torch.testing.assert_close(model.transpose(raw, weight), a.T @ (weight[:, None] * raw))
    torch.testing.assert_close(dense(model.node_system(weight, raw.device)).float(), a.T @ (weight[:, None] * a))


def test_groups_equal_their_dense_matrices():
    """S of the patch positions, and of the crops: the full view is last and has no column."""
    model, raw, image_xy, weight, index = problem()
    a = dense_matrix(image_xy)
    views = torch.nn.functional.one_hot(torch.arange(108) // 12).float()[:, :-1]
    patches = torch.nn.functional.one_hot(index, 12).float()
    values = torch.randn(20, 3)
    for groups, s in ((Groups.patches(9, 12, raw.device), patches), (Groups.crops(9, 12, raw.device), views)):
        coupling = a.T @ (weight[:, None] * s)
        for part in (slice(0, None), slice(3, 8), slice(6, 99)):
            found = model.node_group_gram(groups, part, weight, raw.device)
            torch.testing.assert_close(found.float(), coupling[:, part])
        torch.testing.assert_close(groups.sum(raw, weight), s.T @ (weight[:, None] * raw))
        torch.testing.assert_close(model.field_at_groups(groups, values, weight), coupling.T @ values)
        vectors = torch.randn(s.shape[1], 3)
        padded = torch.cat((vectors, torch.zeros(1, 3)))  # the zero of the full view; unused by patch positions
        torch.testing.assert_close(model.groups_at_nodes(groups, padded, weight), coupling @ vectors)


@pytest.mark.parametrize("rows", [1, 2, 6])
def test_the_block_tridiagonal_factor_solves_the_full_matrix(rows):
    blocks = torch.randn(rows, 4, 4).double()
    system = BlockTridiagonal(blocks @ blocks.mT + 20 * torch.eye(4).double(), torch.randn(rows - 1, 4, 4).double())
    full, columns = dense(system), torch.randn(rows * 4, 3).double()
    assert system.factor_()
    torch.testing.assert_close(full @ system.solve_factored_(columns.clone()), columns)


@pytest.mark.parametrize("row", [0, 2])
def test_a_matrix_that_is_not_positive_definite_is_reported(row):
    system = BlockTridiagonal(torch.eye(4).double().repeat(3, 1, 1), torch.zeros(2, 4, 4).double())
    system.diagonal[row, 1, 1] = -1
    assert not system.factor_()


def test_the_far_edges_of_the_image_belong_to_the_grid():
    values = torch.arange(20.0)[:, None]
    corners = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    assert NODES.interpolate(values, corners).flatten().tolist() == [0, 4, 15, 19]


def test_roughness_is_the_sum_of_squared_differences_of_neighbours():
    values = torch.randn(4, 5).double()
    expected = values.diff(dim=0).square().sum() + values.diff(dim=1).square().sum()
    flat = values.flatten()
    torch.testing.assert_close(flat @ roughness() @ flat, expected)


@pytest.mark.parametrize("view_offset", [0.0, 0.8])
@pytest.mark.parametrize("ridge", [0.02, 1.0])
def test_the_solution_equals_stacked_dense_least_squares(ridge, view_offset):
    """Every squared term of the objective is a row of one tall system for torch.linalg.lstsq."""
    model, raw, image_xy, weight, index = problem()
    config = ClosedFormConfig(smoothness=0.3, artifact_ridge=ridge, view_offset=view_offset)
    fit = solve_weighted(model, raw, weight, torch.full((12,), config.artifact_ridge), config)

    view = torch.arange(108) // 12
    one_hot = torch.nn.functional.one_hot
    columns = [dense_matrix(image_xy), one_hot(index, 12).float(), one_hot(view).float()[:, :8]]
    per_node, per_patch = weight.sum() / 20, torch.zeros(12).index_add_(0, index, weight)
    per_crop = torch.zeros(9).index_add_(0, view, weight)[:8]
    factor = torch.linalg.cholesky(roughness() + 1e-12 * torch.eye(20)).T
    pulls = [(0.3 * per_node).sqrt() * factor, (ridge * per_patch).sqrt().diag()]
    if view_offset:
        pulls.append(((1 / view_offset - 1) * per_crop).sqrt().diag())  # a lone offset is 0.8 of the mean error
    design = torch.cat(columns[: len(pulls)], dim=1).double()
    tall = torch.cat((weight.sqrt()[:, None] * design, torch.block_diag(*pulls)))
    target = torch.cat((weight.sqrt()[:, None] * raw, torch.zeros(design.shape[1], 3))).double()
    solution = torch.linalg.lstsq(tall, target).solution
    torch.testing.assert_close(fit.nodes.double(), solution[:20], atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(fit.artifact.double(), solution[20:32], atol=1e-4, rtol=1e-3)
    expected = torch.zeros(9, 3).double()
    expected[: len(solution) - 32] = solution[32:]
    torch.testing.assert_close(fit.offsets.double(), expected, atol=1e-4, rtol=1e-3)


def test_constants_added_to_the_crops_change_neither_f_nor_g():
    """With shares below one, part of the constants stays in F and G: the less, the larger the share."""
    model, raw, _, weight, _ = problem()
    added = 5 * torch.randn(9, 1, 3).expand(9, 12, 3).clone()
    added[-1] = 0  # the full view

    def moved_by_constants(view_offset):
        config = ClosedFormConfig(smoothness=0.3, view_offset=view_offset)
        ridge = torch.full((12,), config.artifact_ridge)
        plain, moved = (solve_weighted(model, each, weight, ridge, config) for each in (raw, raw + added.flatten(0, 1)))
        return float(torch.cat(moved[:2]).sub(torch.cat(plain[:2])).norm())

    moved = [moved_by_constants(share) for share in (0.0, 0.5, 0.8, 0.95, 1 - 1e-7)]
    assert all(after < before for before, after in pairwise(moved)) and moved[0] > 1 and moved[-1] < 1e-3, moved


@pytest.mark.parametrize("radius", [0.1, 0.5, 100.0])
def test_the_context_of_offsets_equals_dense_least_squares(radius):
    model, _, image_xy, weight, _ = problem()
    offsets = torch.randn(9, 3)
    a, per_node = dense_matrix(image_xy).double(), weight.double().sum() / 20
    gram = a.T @ (weight[:, None] * a) + (5 * radius) ** 2 * per_node * roughness()
    expected = torch.linalg.solve(gram, a.T @ (weight[:, None] * offsets.repeat_interleave(12, dim=0)).double())
    found = context_of_offsets(model, weight, offsets, radius)
    torch.testing.assert_close(found.double(), expected, atol=1e-4, rtol=1e-3)
    if radius == 100:  # hardly a place is left: the mean offset
        mean = (weight[:, None] * offsets.repeat_interleave(12, dim=0)).sum(dim=0) / weight.sum()
        torch.testing.assert_close(found, mean.expand(20, 3), atol=1e-3, rtol=0)


def test_a_solution_with_offsets_keeps_their_context():
    rng = torch.Generator().manual_seed(0)
    raw, image_xy = torch.randn(9, 3, 4, 2, generator=rng), torch.rand(9, 3, 4, 2, generator=rng)
    config = ClosedFormConfig(view_offset=0.8, offset_radius=0.3, nodes_per_patch=1.5, reweightings=0)
    solution = solve_closed_form(ViewTokens(raw=raw, image_xy=image_xy, grid=GRID), config)
    model, weight = LinearModel(solution.field.nodes, image_xy.reshape(-1, 2)), torch.ones(108)
    fit = solve_weighted(model, raw.reshape(-1, 2), weight, torch.full((12,), config.artifact_ridge), config)
    expected = fit.nodes + context_of_offsets(model, weight, fit.offsets, 0.3) + fit.artifact.mean(dim=0)
    torch.testing.assert_close(solution.field.values, expected)
    assert fit.offsets.abs().max() > 0.1


def test_the_full_view_has_no_offset():
    """A constant of all views is the constant of the full view, and goes to F."""
    model, raw, _, weight, _ = problem()
    config = ClosedFormConfig(view_offset=1 - 1e-7)
    ridge = torch.full((12,), config.artifact_ridge)
    plain, moved = (solve_weighted(model, each, weight, ridge, config) for each in (raw, raw + 5))
    assert not plain.offsets[-1].any() and plain.offsets[:-1].any()
    torch.testing.assert_close(moved.nodes, plain.nodes + 5, atol=1e-3, rtol=0)
    torch.testing.assert_close(moved.offsets, plain.offsets, atol=1e-3, rtol=0)


def test_weights_of_the_border_by_hand():
    grid = PatchGrid.of((64, 64), 16)
    expected = [[0.3, 0.3, 0.3, 0.3], [0.3, 1, 1, 0.3], [0.3, 1, 1, 0.3], [0.3, 0.3, 0.3, 0.3]]
    torch.testing.assert_close(border_weights(grid, 0.3).reshape(4, 4), torch.tensor(expected))
    assert border_weights(grid, 1.0).tolist() == [1.0] * 16


@pytest.mark.parametrize("reweightings", [0, 2])
def test_patches_at_the_border_of_a_view_count_less(reweightings):
    """Features wrong by a different amount in the border of every view: they change F less."""
    rng = torch.Generator().manual_seed(0)
    grid = PatchGrid.of((96, 96), 16)
    raw, image_xy = torch.zeros(40, 6, 6, 2), torch.rand(40, 6, 6, 2, generator=rng)
    border = border_weights(grid, 0.5).reshape(6, 6) < 1
    raw[:, border] = torch.randn(40, 1, 2, generator=rng)

    def size_of_f(border_weight):
        config = ClosedFormConfig(border_weight=border_weight, reweightings=reweightings)
        return float(solve_closed_form(ViewTokens(raw, image_xy, grid), config).field.values.square().mean())

    assert size_of_f(0.1) < 0.5 * size_of_f(1.0)


def test_backfitting_converges_to_the_same_solution():
    """The sweeps of the founding design, alternating F and G, end where the direct solve starts."""
    model, raw, image_xy, weight, index = problem()
    config = ClosedFormConfig(smoothness=0.2, artifact_ridge=0.5)
    fit = solve_weighted(model, raw, weight, torch.full((12,), config.artifact_ridge), config)
    a, w = dense_matrix(image_xy).double(), weight.double()[:, None]
    field, artifact = torch.zeros(20, 3).double(), torch.zeros(12, 3).double()
    count = 1.5 * torch.zeros(12).double().index_add_(0, index, weight.double())[:, None]  # a ridge of 0.5
    gram = a.T @ (w * a) + 0.2 * weight.sum() / 20 * roughness()
    for _ in range(400):
        field = torch.linalg.solve(gram, a.T @ (w * (raw - artifact[index])))
        artifact = torch.zeros(12, 3).double().index_add_(0, index, w * (raw - a @ field)) / count
    torch.testing.assert_close(fit.nodes.double(), field, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(fit.artifact.double(), artifact, atol=1e-3, rtol=1e-3)


def test_a_constant_added_to_the_features_goes_to_f_alone():
    model, raw, _, weight, _ = problem()
    config = ClosedFormConfig()
    plain = solve_weighted(model, raw, weight, torch.full((12,), config.artifact_ridge), config)
    moved = solve_weighted(model, raw + 5, weight, torch.full((12,), config.artifact_ridge), config)
    torch.testing.assert_close(moved.nodes, plain.nodes + 5, atol=1e-3, rtol=0)
    torch.testing.assert_close(moved.artifact, plain.artifact, atol=1e-3, rtol=0)


def test_errors_and_weights_by_hand():
    model, raw, image_xy, weight, index = problem()
    fit = solve_weighted(model, raw, weight, torch.full((12,), 0.05), ClosedFormConfig())
    expected = (dense_matrix(image_xy) @ fit.nodes + fit.artifact[index] - raw).square().mean(dim=1)
    torch.testing.assert_close(squared_errors(model, raw, fit), expected)
    errors = torch.tensor([[1.0, 2.0], [1.0, 2.0], [1.0, 2.0], [4.0, 2.0], [0.0, 2.0]])
    weights = inlier_weights(errors, torch.tensor([1.0, 2.0]), outlier_scale=4)
    torch.testing.assert_close(weights[:, 0] / weights[4, 0], torch.tensor([0.8, 0.8, 0.8, 0.5, 1.0]))
    torch.testing.assert_close(weights[:, 1] / weights[0, 0], torch.full((5,), 0.5))  # twice the usual error
    assert weights.mean() == pytest.approx(1)
    assert inlier_weights(torch.zeros(5, 2), torch.zeros(2), 4.0).tolist() == [[1.0, 1.0]] * 5  # a perfect fit


def test_the_pull_on_g_by_hand():
    config = ClosedFormConfig(artifact_ridge=0.1, correlated_views=2)
    artifact = torch.tensor([[1.0, 1.0], [10.0, 0.0]])  # mean squares 1 and 50
    torch.testing.assert_close(
        artifact_pull(torch.tensor([3.0, 1.0]), 4, artifact, config), torch.tensor([0.1 + 1.5, 0.1 + 0.01])
    )


def test_an_artifact_with_huge_noise_of_its_own_is_not_taken_for_outliers():
    """Corner tokens of some ViTs have norms ten times all others, and vary as much: G must still have them."""
    rng = torch.Generator().manual_seed(0)
    raw = 0.1 * torch.randn(200, 3, 4, 8, generator=rng)
    raw[:, 0, 0] += 50 * (1 + 0.5 * torch.randn(200, 1, generator=rng))
    tokens = ViewTokens(raw=raw, image_xy=torch.rand(200, 3, 4, 2, generator=rng), grid=GRID)
    artifact = solve_closed_form(tokens, ClosedFormConfig()).artifact
    assert (artifact[0, 0] - artifact[2, 3]).mean() > 40


def test_nodes_that_no_token_looks_at_still_have_a_solution_without_smoothness():
    raw, image_xy = torch.randn(1, 3, 4, 2), torch.rand(1, 3, 4, 2) * 0.2
    tokens = ViewTokens(raw=raw, image_xy=image_xy, grid=GRID)
    solution = solve_closed_form(tokens, ClosedFormConfig(smoothness=0.0, artifact_ridge=0.01, nodes_per_patch=4))
    assert solution.artifact.isfinite().all() and solution.field.at(torch.rand(9, 2)).isfinite().all()


def test_nodes_beyond_the_memory_limit_are_refused():
    tokens = ViewTokens(raw=torch.zeros(1, 3, 4, 2), image_xy=torch.rand(1, 3, 4, 2), grid=GRID)
    with pytest.raises(DecompositionError, match=r"900 x 1200 nodes .* needs 19 GB.* fewer nodes_per_patch"):
        solve_closed_form(tokens, ClosedFormConfig(nodes_per_patch=300))


def test_features_beyond_float64_are_an_error_for_people():
    raw = torch.full((9, 3, 4, 2), 1e30)
    raw[0, 0, 0, 0] = -1e38
    tokens = ViewTokens(raw=raw, image_xy=torch.rand(9, 3, 4, 2), grid=GRID)
    with pytest.raises(DecompositionError, match="features up to 1e"):
        solve_closed_form(tokens, ClosedFormConfig())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_gives_the_same_and_the_same_every_time():
    rng = torch.Generator().manual_seed(0)
    raw, image_xy = torch.randn(40, 3, 4, 16, generator=rng), torch.rand(40, 3, 4, 2, generator=rng)
    cpu = solve_closed_form(ViewTokens(raw=raw, image_xy=image_xy, grid=GRID), ClosedFormConfig())
    tokens = ViewTokens(raw=raw.cuda(), image_xy=image_xy.cuda(), grid=GRID)
    one, two = (solve_closed_form(tokens, ClosedFormConfig()).artifact for _ in range(2))
    assert torch.equal(one, two)
    torch.testing.assert_close(one.cpu(), cpu.artifact, atol=1e-3, rtol=1e-3)


def test_node_counts():
    assert node_counts(PatchGrid.of((224, 592), 16), 2.0) == (28, 74)
    assert node_counts(PatchGrid.of((224, 592), 16, 8), 2.0) == (28, 74)
    assert node_counts(PatchGrid.of((16, 16), 16), 0.5) == (2, 2)
    with pytest.raises(ConfigError, match="nodes_per_patch"):
        ClosedFormConfig(nodes_per_patch=0)


@pytest.mark.parametrize(
    "options", [{"view_offset": 1.0}, {"view_offset": -0.1}, {"border_weight": 0.0}, {"offset_radius": 0.0}]
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ConfigError, match=rf"closed_form\.{next(iter(options))}=.*: give"):
        ClosedFormConfig(**options)
