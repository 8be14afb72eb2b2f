"""All verbs with a ViT of every source, from images to an export, and back from the folders that they wrote."""

import sys

import pytest
import torch
from hub_vits import HUBCONF, TINY_CLIP, far_from_zero, saved, tiny_clip
from noise import write_noise

import dvt as package
from dvt.weights.folder import read_model_folder

FEW = (
    "num_steps=2", "batch_size=2", "save_every=2", "validate_every=2", "show_every=0", "log_every=1", "trainer=cpu",
    "logger=none",
)  # fmt: skip
FACTORY = """
import torch
from torch import nn


class Stem(nn.Module):
    patch, mean, std = 16, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 64, 16, stride=16)

    def forward(self, images):
        return self.stem(images)


def build():
    torch.manual_seed(0)
    return Stem()
"""


def transformers_vit(folder):
    saved("Dinov2WithRegistersModel", folder / "reg")
    return (
        "backbone.source=transformers",
        f"backbone.name={folder / 'reg'}",
        "backbone.image_size=56",
    ), f"transformers:{folder / 'reg'}"


def open_clip_vit(folder):
    torch.save(tiny_clip(folder).visual.state_dict(), folder / "clip.pth")
    options = ("backbone.source=open_clip", f"backbone.name={TINY_CLIP}", "backbone.image_size=128")
    return (*options, f"backbone.weights={folder / 'clip.pth'}"), f"open_clip:{TINY_CLIP}"


def hub_vit(folder):
    import timm

    options = {"depth": 2, "embed_dim": 64, "num_heads": 4, "dynamic_img_size": True, "num_classes": 0}
    torch.save(far_from_zero(timm.create_model("vit_small_patch16_224", **options)).state_dict(), folder / "vit.pth")
    (folder / "hubconf.py").write_text(HUBCONF.format(name="vit_small_patch16_224", weights=folder / "vit.pth"))
    name = f"{folder}:small_vit"
    return (
        "backbone.source=torch_hub",
        f"'backbone.name=\"{name}\"'".strip("'"),
        "backbone.image_size=64",
    ), f"torch_hub:{name}"


def module_vit(folder):
    (folder / "mine_stem.py").write_text(FACTORY)
    return (
        "backbone.source=module",
        'backbone.name="mine_stem:build"',
        "backbone.image_size=64",
    ), "module:mine_stem:build"


@pytest.mark.sources
@pytest.mark.parametrize("make", [transformers_vit, open_clip_vit, hub_vit, module_vit])
def test_all_verbs(make, dvt, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    options, name = make(tmp_path)
    for number in range(16):
        write_noise(tmp_path / "photos" / f"{number}.png", (70, 90), number)
    weights = tuple(option for option in options if option.startswith("backbone.weights"))
    of_source = tuple(option for option in options if option not in weights)
    vit, size = (*options, "device=cpu"), options[2].rpartition("=")[2]
    of_task = tuple(option for option in vit if "image_size" not in option)
    done = dvt("decompose", "images=photos", "store=store", "quality=tiny", "views.num_views=3", *vit)
    assert done.code == 0, done.err
    assert package.FeatureStore.open("store").meta.spec.backbone == name
    for arguments in (
        ("train", "store=store", "out=denoiser", "pairs.raw=stored", *FEW),
        ("distill", "denoiser=denoiser", "images=photos", "out=distilled", *options, *FEW),
        ("distill", "store=store", "images=photos", "out=of_store", *weights, *FEW),
        ("show", "image=photos/0.png", "out=a.png", "quality=tiny", "views.num_views=3",
         "method=[raw,srt,decomposed,denoised,distilled]", "denoiser=denoiser", "distilled=distilled",
         "srt.max_shift=1", *vit),
        ("evaluate", "task=artifact_scores", "data=photos", "out=scores", "artifact_scores.num_images=16",
         f"artifact_scores.image_size={size}",
         "method=[raw,denoised]", "denoiser=denoiser", *of_task),
        ("doctor", "images=photos", "num_images=16", *vit),
        ("export", "out=whole", "denoiser=denoiser", *options),
        ("export", "out=model.pt2", "denoiser=distilled", *of_source),
    ):  # fmt: skip
        result = dvt(*arguments)
        assert result.code == 0, (arguments, result.err)
    image = torch.rand(1, 3, *package.FeatureStore.open("store").meta.spec.grid.image_hw)
    model, _ = package.load_denoised(weights="distilled", device="cpu")
    assert (
        model.full_name == name and read_model_folder(tmp_path / "distilled", kind="distilled")[1].spec.backbone == name
    )
    clean = model(image).patches
    fixed, _ = package.load_fixed_size("whole")(image)
    denoised, _ = package.load_denoised(
        weights="denoiser", device="cpu", backbone_weights=weights[0].partition("=")[2] if weights else None
    )
    torch.testing.assert_close(denoised(image).patches, fixed, rtol=1e-4, atol=1e-4)
    assert clean.shape == fixed.shape and not torch.allclose(clean, fixed)
    sys.modules.pop("mine_stem", None)
