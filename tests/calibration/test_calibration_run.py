"""Calibration of the ViT that ships with dvt, on pieces of photographs."""

import pytest
import torch
from PIL import Image

import dvt
from dvt.calibration.config import CalibrationConfig, Method
from dvt.calibration.run import blank_images, calibrate
from dvt.demo.images import write_images, write_pieces
from dvt.denoiser.denoised import DenoisedBackbone
from dvt.errors import BackboneError, ConfigError, ImageError
from dvt.images import find_images


@pytest.fixture(scope="session")
def pieces(tmp_path_factory):
    """18 pieces of six photographs."""
    folder = tmp_path_factory.mktemp("photographs")
    return write_pieces(write_images(folder / "whole"), folder / "pieces")


@pytest.fixture(scope="module")
def vit():
    return dvt.load_backbone("vit_micro", image_size=96, device="cpu")


def quick(**options):
    return CalibrationConfig(num_images=18, windows=4, **options)


@pytest.mark.parametrize("method", [each for each in Method if each is not Method.registers])
def test_every_method_is_a_denoiser_that_its_folder_gives_back(method, vit, pieces, tmp_path):
    found = calibrate(vit, pieces, quick(method=method))
    found.denoiser.save_pretrained(tmp_path)
    model, _ = dvt.load_denoised(weights=tmp_path, device="cpu")
    images = torch.rand(2, 3, 96, 96)
    clean = model(images)
    assert torch.equal(clean.patches, DenoisedBackbone(vit, found.denoiser)(images).patches)
    assert clean.patches.shape == (2, 6, 6, 192) and clean.patches.isfinite().all()
    assert torch.equal(clean.prefix, vit(images).prefix)
    assert model(torch.rand(1, 3, 64, 128)).patches.shape == (1, 4, 8, 192)
    info = model.denoiser.info
    assert info.training["calibration"]["method"] == method.value and info.training["num_images"] == 18
    assert {"position share, raw", "position share, calibrated", "shift error, raw"} <= set(info.metrics)


def test_what_images_share_at_a_position_is_gone(vit, pieces):
    """In the pieces themselves; in others as far as 14 images tell."""
    images = torch.rand(2, 3, 96, 96)
    raw = vit(images).patches
    centred = calibrate(vit, pieces, quick(seed=1)).denoiser
    removed = raw - DenoisedBackbone(vit, centred)(images).patches
    torch.testing.assert_close(removed[0], removed[1])  # the same map from every image
    torch.testing.assert_close(removed.mean(dim=(1, 2)), torch.zeros(2, 192), atol=1e-5, rtol=0)
    corners = removed[0, [0, 0, -1, -1], [0, -1, 0, -1]].norm(dim=-1)
    assert corners.min() > removed[0, 2:4, 2:4].norm(dim=-1).max(), "the corners of this ViT have the artifact"


def test_the_same_images_give_the_same_denoiser(vit, pieces):
    first, second, other = (
        calibrate(vit, pieces, quick(method=Method.projected, seed=seed)).denoiser for seed in (0, 0, 1)
    )
    weights = [each.linear_mixing.linear.weight for each in (first, second, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_one_scene_is_warned_of(vit, pieces, tmp_path, caplog):
    with Image.open(pieces[0].path) as piece:
        for number in range(16):  # the same scene, moved by some pixels
            piece.crop((number, 0, number + 100, 100)).save(tmp_path / f"{number}.png")
    calibrate(vit, find_images(tmp_path), CalibrationConfig(windows=8))
    assert "the images look alike" in caplog.text
    caplog.clear()
    calibrate(vit, pieces, quick())
    assert "alike" not in caplog.text


def test_another_grid_is_said_once(vit, pieces, caplog):
    model = DenoisedBackbone(vit, calibrate(vit, pieces, quick()).denoiser)
    model(torch.rand(1, 3, 96, 96))
    assert "resampled" not in caplog.text
    for _ in range(2):
        model(torch.rand(1, 3, 96, 128))
    assert caplog.text.count("made for 6 x 6 patches, and these images have 6 x 8") == 1


@pytest.mark.other_types
def test_what_cannot_be_calibrated(vit, pieces):
    with pytest.raises(ImageError, match=r"at least 16 images, better 100 .* found 15"):
        calibrate(vit, pieces[:15])
    with pytest.raises(BackboneError, match="is no plain ViT"):
        calibrate(dvt.load_denoised(weights="vit_micro/denoiser", device="cpu")[0], pieces)
    several = dvt.load_backbone("vit_micro", image_size=64, layer=[1, 3], device="cpu")
    with pytest.raises(ConfigError, match=r"method=blocks, layers=all with backbone.layer=\[1, 3\]"):
        calibrate(several, pieces, quick(method=Method.blocks))
    assert calibrate(several, pieces, quick()).denoiser.num_channels == 384


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"windows": 3}, "windows=3: give an even number"),
        ({"rank": 2}, "method=centred removes no directions"),
        ({"method": "projected", "rank": 0}, "rank=0"),
        ({"method": "blank", "centre": True}, "centre=true is for method=projected and method=blocks"),
        ({"num_images": 3}, "num_images=3"),
    ],
)
def test_options_without_effect_are_refused(options, said):
    with pytest.raises(ConfigError, match=said):
        CalibrationConfig(**{**options, "method": Method(options.get("method", "centred"))})


def test_blank_images_have_no_content():
    images = blank_images((32, 48), 0)
    colours, noise = images.chunk(2)
    assert (colours == colours[..., :1, :1]).all() and colours[0].max() == 0 and colours[1].min() == 1
    assert abs(noise.mean() - 0.5) < 0.01 and 0 <= noise.min() and noise.max() <= 1
    assert torch.equal(images, blank_images((32, 48), 0))
