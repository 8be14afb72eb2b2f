"""Planted terms are recovered: the central property of stage 1."""

from functools import cache

import pytest
import torch
from planted import PlantedBackbone, centred_cosine, coordinate_image, correlation

from dvt.decomposition.quality import load_quality
from dvt.decomposition.run import decompose, decompose_image
from dvt.grid import PatchGrid


@pytest.mark.parametrize("seed", [0, 1])
def test_closed_form_recovers_what_was_planted(seed):
    backbone = PlantedBackbone(seed=seed)
    result = decompose(coordinate_image(), backbone, seed=seed)
    assert correlation(result.artifact, backbone.artifact) >= 0.999
    assert centred_cosine(result.clean, backbone.clean_at(backbone.grid.centres_xy)) >= 0.97


def test_f_read_finer_than_a_patch_is_what_was_planted():
    backbone = PlantedBackbone()
    field = decompose(coordinate_image(), backbone).field
    fine = PatchGrid.of((224, 224), 4)
    truth = backbone.clean_at(fine.centres_xy)
    assert field.read(fine).shape == (56, 56, 24)
    assert centred_cosine(field.read(fine), truth) >= 0.97
    assert centred_cosine(field.read(fine.centres_xy), truth) >= 0.97
    patches = field.read(backbone.grid).repeat_interleave(4, dim=0).repeat_interleave(4, dim=1)
    assert (field.read(fine) - truth).square().mean() < 0.5 * (patches - truth).square().mean()


@cache
def fitted(num_steps, **gradient):
    """The gradient solver on planted features, the same views each time, and what was planted."""
    backbone = PlantedBackbone(outliers=0.005, strangeness=4.0)
    hash_grid = {"n_levels": 4, "n_features_per_level": 4, "base_resolution": 8, "max_resolution": 32}
    options = {"solver": "gradient", "gradient": {"num_steps": num_steps, "hash_grid": hash_grid, **gradient}}
    return decompose(coordinate_image(), backbone, held_out_views=16, **options), backbone


@pytest.mark.parametrize(("num_steps", "options"), [(500, {}), (40, {"warm_start": True})])
def test_gradient_solver_recovers_what_was_planted(num_steps, options):
    result, backbone = fitted(num_steps, **options)
    assert correlation(result.artifact, backbone.artifact) >= 0.99
    assert centred_cosine(result.clean, backbone.clean_at(backbone.grid.centres_xy)) >= 0.95
    fine = PatchGrid.of((224, 224), 4)
    assert centred_cosine(result.field.read(fine), backbone.clean_at(fine.centres_xy)) >= 0.95


def test_a_warm_start_needs_few_steps():
    """Noise and outliers are what nothing explains; a long fit leaves little more."""
    error = {
        name: result.diagnostics["held_out_error"]
        for name, (result, _) in {"long": fitted(500), "cold": fitted(40), "warm": fitted(40, warm_start=True)}.items()
    }
    assert error["warm"] < 1.2 * error["long"] < 0.5 * error["cold"]


def test_a_warm_start_begins_at_the_closed_form():
    still, _ = fitted(1, warm_start=True, learning_rate=1e-9, final_learning_rate=0, warmup=0)
    direct = decompose(coordinate_image(), PlantedBackbone(outliers=0.005, strangeness=4.0), held_out_views=16)
    torch.testing.assert_close(still.clean, direct.clean, atol=1e-5, rtol=0)
    torch.testing.assert_close(still.artifact, direct.artifact, atol=1e-5, rtol=0)


def test_reweighting_is_what_withstands_outliers():
    """With one token in eight replaced, plain least squares is worse by far."""
    results = {}
    for reweightings in (0, 4):
        backbone = PlantedBackbone(outliers=0.12)
        result = decompose(coordinate_image(), backbone, closed_form={"reweightings": reweightings})
        results[reweightings] = (result.artifact - backbone.artifact).square().mean()
    assert results[4] < 0.05 * results[0]


def test_raw_is_the_sum_of_the_terms():
    result = decompose(coordinate_image(), PlantedBackbone())
    torch.testing.assert_close(result.raw, result.clean + result.artifact + result.residual)
    torch.testing.assert_close(result.artifact.mean(dim=(0, 1)), torch.zeros(24), atol=1e-5, rtol=0)
    assert result.clean.shape == result.artifact.shape == (14, 14, 24)
    assert all(each.dtype == torch.float32 for each in (result.raw, result.clean, result.artifact))


def test_held_out_error_is_that_of_the_noise_and_changes_nothing_else():
    config = load_quality("fast", {"held_out_views": 16, "num_views": 128})
    kept = decompose_image(coordinate_image(), PlantedBackbone(outliers=0, noise=0.2), config, seed=0)
    signal = 0.5 + 0.25 + 0.04  # variances of the waves, the artifact and the noise
    assert kept.diagnostics["held_out_error"] == pytest.approx(0.04 / signal, rel=0.35)
    plain = decompose(coordinate_image(), PlantedBackbone(outliers=0, noise=0), seed=0)
    held = decompose(coordinate_image(), PlantedBackbone(outliers=0, noise=0), seed=0, held_out_views=16)
    torch.testing.assert_close(held.clean, plain.clean, atol=1e-4, rtol=0)


def test_not_square_images_and_views():
    backbone = PlantedBackbone(hw=(128, 224))
    result = decompose(coordinate_image(200, 500), backbone)
    assert result.clean.shape == (8, 14, 24)
    assert correlation(result.artifact, backbone.artifact) >= 0.999
    assert centred_cosine(result.clean, backbone.clean_at(backbone.grid.centres_xy)) >= 0.97
