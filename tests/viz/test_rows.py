"""Rows of tiles: content, scale, label."""

import inspect
import subprocess
import sys

import numpy as np
import pytest
import torch

from dvt.errors import DvtError
from dvt.viz import (
    PCABasis,
    cluster_map,
    colourise,
    colourise_labels,
    decomposition_rows,
    draw_panel,
    method_rows,
    similarity_map,
)

ROWS, COLUMNS, CHANNELS = 6, 8, 12
IMAGE = torch.full((3, 60, 80), 0.25)


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def terms():
    y, x = torch.meshgrid(torch.linspace(0, 1, ROWS), torch.linspace(0, 1, COLUMNS), indexing="ij")
    clean = torch.stack([x, y, (x > 0.5).float()], -1) @ noise(3, CHANNELS, seed=1) * 5
    artifact = torch.exp(-8 * (x**2 + y**2))[..., None] * noise(CHANNELS, seed=2) * 4
    residual = 0.1 * noise(ROWS, COLUMNS, CHANNELS, seed=3)
    return {"raw": clean + artifact + residual, "clean": clean, "artifact": artifact, "residual": residual}


def tile(rows, row, name):
    (found,) = [one for one in rows[row][1:] if one.label.startswith(name)]
    return found.image


def test_decomposition_has_four_labelled_rows(terms):
    rows = decomposition_rows(IMAGE, **terms)
    labels = [[one.label for one in row] for row in rows]
    names = ["raw", "clean", "artifact", "residual"]
    assert [[label.split(":")[0] for label in row[1:]] for row in labels] == [names, names, names, ["raw", "clean"]]
    assert all(row[0].startswith("image") for row in labels)
    assert "same PCA and scale" in labels[0][3]
    assert "same PCA and scale" in labels[0][4]
    for row in rows:
        for one in row[1:]:
            assert one.image.shape == (ROWS, COLUMNS, 3)
            assert one.image.dtype == torch.float32
            assert ((one.image >= 0) & (one.image <= 1)).all()
            assert one.aspect == pytest.approx(80 / 60)


def test_raw_and_clean_share_one_basis(terms):
    rows = decomposition_rows(IMAGE, **terms)
    basis = PCABasis.fit([terms["raw"], terms["clean"]])
    assert torch.equal(tile(rows, 0, "raw"), basis.colours(terms["raw"]))
    assert torch.equal(tile(rows, 0, "clean"), basis.colours(terms["clean"]))


def test_finer_cells_are_one_more_column_in_the_same_colours(terms):
    fine = terms["clean"].repeat_interleave(2, 0).repeat_interleave(2, 1)
    without, rows = decomposition_rows(IMAGE, **terms), decomposition_rows(IMAGE, **terms, fine=fine)
    assert [len(row) for row in rows] == [len(row) + 1 for row in without]
    cells = tile(rows, 0, "clean, 12 x 16 cells")
    assert torch.equal(cells[::2, ::2], tile(rows, 0, "clean: PCA")) and cells.shape == (12, 16, 3)
    for name in ("raw", "clean: PCA", "artifact", "residual"):
        assert torch.equal(tile(rows, 0, name), tile(without, 0, name))


def test_artifact_and_residual_have_the_scale_of_raw(terms):
    """Without clipping, the colours satisfy the equation: raw - clean = artifact + residual."""
    terms["artifact"] = terms["artifact"] - terms["artifact"].mean(dim=(0, 1))
    terms["raw"] = terms["clean"] + terms["artifact"] + terms["residual"]
    rows = decomposition_rows(IMAGE, **terms)
    raw, clean, artifact, residual = (tile(rows, 0, name) for name in terms)
    whole = torch.stack([raw, clean, artifact, residual])
    inside = ((whole > 0.001) & (whole < 0.999)).all(dim=0)
    assert inside.float().mean() > 0.5
    difference = (artifact - 0.5) + (residual - 0.5)
    torch.testing.assert_close((raw - clean)[inside], difference[inside], rtol=0, atol=1e-5)


def test_a_constant_in_the_artifact_is_not_shown(terms):
    shifted = {**terms, "artifact": terms["artifact"] + noise(CHANNELS)}
    first, second = (tile(decomposition_rows(IMAGE, **one), 0, "artifact") for one in (terms, shifted))
    torch.testing.assert_close(first, second, rtol=0, atol=1e-5)
    constant = {**terms, "artifact": noise(CHANNELS).expand(ROWS, COLUMNS, CHANNELS)}
    grey = torch.full((ROWS, COLUMNS, 3), 0.5)
    torch.testing.assert_close(tile(decomposition_rows(IMAGE, **constant), 0, "artifact"), grey, rtol=0, atol=1e-5)


def test_residual_of_zero_is_grey_and_its_mean_is_kept(terms):
    grey = torch.full((ROWS, COLUMNS, 3), 0.5)
    terms["residual"] = torch.zeros_like(terms["raw"])
    assert torch.equal(tile(decomposition_rows(IMAGE, **terms), 0, "residual"), grey)
    terms["residual"] = torch.ones_like(terms["raw"])
    assert not torch.allclose(tile(decomposition_rows(IMAGE, **terms), 0, "residual"), grey, atol=0.02)


def test_norms_are_on_one_logarithmic_scale():
    lengths = {"raw": [8.0, 4.0], "clean": [4.0, 4.0], "artifact": [4.0, 2.0], "residual": [0.5, 0.0]}
    terms = {name: torch.tensor(values)[None, :, None].expand(1, 2, 1).float() for name, values in lengths.items()}
    rows = decomposition_rows(IMAGE, **terms)
    assert rows[1][0].label == "image; norm, log scale: black 0.08, yellow 8"
    shares = {8.0: 1.0, 4.0: np.log(4 / 0.08), 2.0: np.log(2 / 0.08), 0.5: np.log(0.5 / 0.08), 0.0: 0.0}
    for name, values in lengths.items():
        for column, value in enumerate(values):
            share = shares[value] / (1 if value == 8 else np.log(100))
            expected = colourise(torch.tensor([[share]], dtype=torch.float64), 0.0, 1.0)[0, 0]
            torch.testing.assert_close(tile(rows, 1, name)[0, column], expected, rtol=0, atol=0.02)


def test_maps_of_zeros():
    zero = torch.zeros(ROWS, COLUMNS, CHANNELS)
    rows = decomposition_rows(IMAGE, zero, zero, zero, zero)
    assert torch.equal(tile(rows, 1, "raw"), colourise(torch.zeros(ROWS, COLUMNS), 0.0, 1.0))
    draw_panel(rows, tile_px=64)


@pytest.mark.parametrize(("patch", "place"), [(None, (3, 4)), ((0, 0), (0, 0)), ((5, 2), (5, 2))])
def test_similarity_is_to_the_marked_patch(terms, patch, place):
    rows = decomposition_rows(IMAGE, **terms, patch=patch)
    for name, feature_map in terms.items():
        expected = colourise(similarity_map(feature_map, *place), -1.0, 1.0, "coolwarm")
        assert torch.equal(tile(rows, 2, name), expected)
    marked = np.asarray(rows[2][0].image).astype(int)
    reddish = np.argwhere(marked[..., 0] - marked[..., 1] > 100)
    y, x = reddish.mean(axis=0)
    assert (y // 10, x // 10) == place  # patches of the image are 10 px large
    assert np.ptp(np.asarray(rows[0][0].image)) == 0


def test_clusters_are_shared(terms):
    rows = decomposition_rows(IMAGE, **terms)
    raw, clean = cluster_map([terms["raw"], terms["clean"]], 5)
    assert torch.equal(tile(rows, 3, "raw"), colourise_labels(raw))
    assert torch.equal(tile(rows, 3, "clean"), colourise_labels(clean))


def test_decomposition_errors(terms):
    with pytest.raises(DvtError, match=r"raw has shape \(6, 8, 12\) and artifact \(6, 7, 12\)"):
        # unwrapped: jaxtyping may check shapes at run time
        inspect.unwrap(decomposition_rows)(IMAGE, **{**terms, "artifact": terms["artifact"][:, 1:]})
    with pytest.raises(DvtError, match="no patch at row -1, column 0: the map has 6 rows and 8 columns"):
        decomposition_rows(IMAGE, **terms, patch=(-1, 0))
    terms["clean"][1, 1, 1] = float("nan")
    with pytest.raises(DvtError, match="clean has values that are NaN"):
        decomposition_rows(IMAGE, **terms)


def test_methods_share_basis_and_scales_and_may_have_different_grids():
    coarse, fine = noise(3, 4, 6), noise(9, 12, 6, seed=1)
    rows = method_rows(IMAGE, {"raw": coarse, "dense": fine}, patch=(2, 1))
    basis = PCABasis.fit([coarse, fine])
    assert torch.equal(tile(rows, 0, "dense"), basis.colours(fine))
    # the middle of patch (2, 1) of 3 x 4 is in patch (7, 4) of 9 x 12
    assert torch.equal(tile(rows, 2, "dense"), colourise(similarity_map(fine, 7, 4), -1.0, 1.0, "coolwarm"))
    assert [len(row) for row in rows] == [3, 3, 3, 3]
    assert [one.label for one in rows[0]] == ["image", "raw: PCA", "dense: PCA"]


def test_any_number_of_methods():
    for count in (1, 4):
        rows = method_rows(IMAGE, {f"m{index}": noise(3, 4, 6, seed=index) for index in range(count)})
        assert [len(row) for row in rows] == [count + 1] * 4
    assert [len(row) for row in method_rows(IMAGE, {"tiny": noise(1, 1, 2)})] == [2] * 4


def test_method_errors():
    with pytest.raises(DvtError, match="no feature maps were given"):
        method_rows(IMAGE, {})
    with pytest.raises(DvtError, match="raw has 6 channels and other has 7"):
        method_rows(IMAGE, {"raw": noise(2, 2, 6), "other": noise(2, 2, 7)})


def test_image_may_be_a_path(tmp_path, terms):
    rows = decomposition_rows(IMAGE, **terms)
    rows[0][0].image.save(tmp_path / "a.png")
    again = decomposition_rows(tmp_path / "a.png", **terms)
    assert np.array_equal(np.asarray(rows[2][0].image), np.asarray(again[2][0].image))


def test_panel_of_a_decomposition(terms):
    panel = draw_panel(decomposition_rows(IMAGE, **terms), tile_px=100, title="raw = clean + artifact + residual")
    assert panel.width == 5 * 100 + 6 * 10
    assert panel.height > 4 * 75


FRESH = """
import sys, torch
import dvt.viz
assert not {"matplotlib", "sklearn"} & set(sys.modules), "imported too early"
maps = [torch.rand(4, 5, 6) for _ in range(4)]
dvt.viz.draw_panel(dvt.viz.decomposition_rows(torch.rand(3, 8, 8), *maps), tile_px=64)
unwanted = ("matplotlib.pyplot", "dvt.decompos", "dvt.store", "dvt.views", "dvt.backbone", "dvt.cli", "hydra")
loaded = [name for name in sys.modules if name.startswith(unwanted)]
assert not loaded, loaded
"""


@pytest.mark.process
def test_importing_and_drawing_need_neither_pyplot_nor_the_other_stages():
    result = subprocess.run([sys.executable, "-c", FRESH], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
