"""The hash grid against a loop over corners, against the paper's numbers, and against tiny-cuda-nn where it is."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import stage1

from dvt.decomposition.config import Encoding, HashGridConfig
from dvt.decomposition.neural_field import hash_grid_tcnn
from dvt.decomposition.neural_field.hash_grid import HashGrid, make_levels
from dvt.decomposition.neural_field.model import make_encoding
from dvt.errors import ConfigError


def test_levels_of_the_paper():
    """Vertices per side and table size as tiny-cuda-nn makes them from 2^4 .. 2^10 in 16 levels."""
    levels = make_levels(HashGridConfig())
    resolutions = [16, 22, 28, 37, 49, 65, 85, 112, 148, 195, 257, 338, 446, 589, 777, 1025]
    assert [level.resolution for level in levels] == resolutions
    assert sum(level.entries for level in levels) == 2_467_720
    assert [level.is_dense for level in levels] == [True] * 15 + [False]


@settings(max_examples=15, deadline=None)
@given(
    n_levels=st.integers(2, 5),
    n_features=st.integers(1, 3),
    log2_hashmap_size=st.integers(4, 9),  # small tables: some levels hash
    base=st.integers(3, 9),
    growth=st.sampled_from([2.3, 3.1, 5.7]),
    seed=st.integers(0, 1000),
)
@pytest.mark.other_types  # float64, for exact comparison
def test_values_and_gradients_equal_a_loop_over_corners(n_levels, n_features, log2_hashmap_size, base, growth, seed):
    sizes = {"n_levels": n_levels, "log2_hashmap_size": log2_hashmap_size, "base_resolution": base}
    sizes["max_resolution"] = int(base * growth)
    rng = torch.Generator().manual_seed(seed)
    grid = HashGrid(HashGridConfig(n_features_per_level=n_features, **sizes), rng).double()
    xy = torch.rand(7, 2, generator=rng, dtype=torch.float64)
    pull = torch.rand(7, n_levels * n_features, generator=rng, dtype=torch.float64)
    table = grid.table.detach().clone().requires_grad_()

    ours = grid(xy)
    levels = [(level.scale, level.resolution) for level in grid.levels]
    plain = stage1.hash_grid(xy, table, levels, log2_hashmap_size)
    torch.testing.assert_close(ours, plain, rtol=1e-5, atol=1e-10)
    (ours * pull).sum().backward()
    (plain * pull).sum().backward()
    torch.testing.assert_close(grid.table.grad.to_dense(), table.grad, rtol=1e-5, atol=1e-8)


def test_a_dense_level_reproduces_a_linear_function_exactly():
    grid = HashGrid(HashGridConfig(n_levels=1, n_features_per_level=1, base_resolution=9, max_resolution=9))
    level = grid.levels[0]
    vertex = torch.arange(level.resolution**2)
    x, y = (vertex % level.resolution - 0.5) / level.scale, (vertex // level.resolution - 0.5) / level.scale
    with torch.no_grad():
        grid.table[: level.resolution**2, 0] = 2 * x - 3 * y + 1
    xy = torch.rand(50, 2) * 0.9  # the far edge wraps, as in tiny-cuda-nn
    torch.testing.assert_close(grid(xy)[:, 0], 2 * xy[:, 0] - 3 * xy[:, 1] + 1, atol=1e-5, rtol=0)


def test_places_keep_their_layout():
    grid = HashGrid(HashGridConfig(n_levels=3, n_features_per_level=2, max_resolution=32))
    xy = torch.rand(4, 5, 2)
    assert grid(xy).shape == (4, 5, 6)
    torch.testing.assert_close(grid(xy)[2, 3], grid(xy[2, 3]))


def test_the_same_seed_draws_the_same_table():
    config = HashGridConfig(n_levels=2, max_resolution=32)
    one, two = (HashGrid(config, torch.Generator().manual_seed(5)).table for _ in range(2))
    assert torch.equal(one, two) and one.abs().max() <= 1e-4 and one.std() > 5e-5


def test_auto_takes_plain_pytorch_where_there_is_no_cuda():
    assert isinstance(make_encoding(HashGridConfig(), Encoding.auto, torch.device("cpu"), 0), HashGrid)


def test_tcnn_without_cuda_is_refused_with_the_way_out():
    with pytest.raises(ConfigError, match="encoding=torch"):
        make_encoding(HashGridConfig(), Encoding.tcnn, torch.device("cpu"), 0)


@pytest.mark.skipif(hash_grid_tcnn.is_installed(), reason="tiny-cuda-nn is installed")
def test_tcnn_where_it_is_not_installed_names_the_page_that_tells_how():
    with pytest.raises(ConfigError, match=r"docs/tcnn\.md"):
        hash_grid_tcnn.TcnnHashGrid(HashGridConfig(), 0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.skipif(not hash_grid_tcnn.is_installed(), reason="needs tiny-cuda-nn (docs/tcnn.md)")
def test_tcnn_equals_plain_pytorch():
    config = HashGridConfig()
    plain, fast = HashGrid(config).cuda(), hash_grid_tcnn.TcnnHashGrid(config, 0).cuda()
    with torch.no_grad():
        fast.table.copy_(plain.table.flatten())
    xy = torch.rand(2048, 2, device="cuda")
    torch.testing.assert_close(fast(xy), plain(xy), atol=1e-8, rtol=1e-4)
    fast(xy).square().sum().backward()
    plain(xy).square().sum().backward()
    torch.testing.assert_close(fast.table.grad.view_as(plain.table), plain.table.grad.to_dense(), atol=1e-9, rtol=1e-3)


def test_nonsense_grids_are_refused():
    for options in ({"n_levels": 0}, {"base_resolution": 1}, {"base_resolution": 64, "max_resolution": 32}):
        with pytest.raises(ConfigError, match="hash_grid"):
            HashGridConfig(**options)
    assert math.isclose(make_levels(HashGridConfig(n_levels=1, max_resolution=64))[0].scale, 15)
