"""Conversion keeps keys and values, there and back, and says what the other layout cannot hold."""

from dataclasses import replace

import pytest
import torch
from originals import block_state, convolution_state

import dvt
from dvt.errors import ConfigError, WeightsError
from dvt.weights.convert import convert, to_original
from dvt.weights.folder import read_model_folder, read_model_info, write_model_folder

TINY = "vit_tiny_patch16_224.augreg_in21k_ft_in1k"


def assert_same(got, expected):
    assert list(got) == list(expected)
    for key, tensor in expected.items():
        assert torch.equal(got[key], tensor) and got[key].dtype == tensor.dtype


@pytest.mark.parametrize(
    "state",
    [
        block_state(192),
        block_state(192, blocks=2),
        block_state(192, positions=0),
        convolution_state(192),
        convolution_state(192, size=3),
    ],
    ids=["block", "blocks", "no embedding", "1 x 1", "3 x 3"],
)
def test_there_and_back_is_the_identity(save, here, state):
    save({"denoiser": state, "optimizer": {}, "step": 1}, "a.pth")
    assert convert("a.pth", "folder", backbone="augreg_tiny") == []
    notes = convert("folder", "new/b.pth")
    assert len(notes) == 1 and f"belongs to {TINY}" in notes[0]
    content = torch.load(here / "new" / "b.pth", weights_only=True)
    assert list(content) == ["denoiser"]
    assert_same(content["denoiser"], state)
    denoiser = dvt.load_denoiser("a.pth")
    assert_same(to_original(denoiser, denoiser.state_dict())["denoiser"], state)
    convert("new/b.pth", "again", backbone=TINY)
    assert read_model_folder("again")[0].keys() == state.keys()
    assert replace(read_model_info("again"), training={}) == replace(read_model_info("folder"), training={})


def test_the_number_format_stays(save, here):
    state = {key: tensor.half() for key, tensor in block_state(192).items()}
    save({"denoiser": state}, "a.pth")
    convert("a.pth", "folder", backbone="augreg_tiny")
    convert("folder", "b.pth")
    assert_same(torch.load(here / "b.pth", weights_only=True)["denoiser"], state)


def test_what_a_converted_folder_says(save):
    save({"denoiser": block_state(192)}, "a.pth")
    convert("a.pth", "folder", backbone="augreg_tiny")
    info = read_model_info("folder")
    assert (info.kind, info.spec.backbone, info.spec.layer, info.spec.norm) == ("denoiser", TINY, 11, True)
    assert info.spec.grid.image_hw == (64, 64) and info.spec.weights_hash is None and info.base_license == "apache-2.0"
    assert info.training == {"origin": "a.pth"} and info.architecture["kind"] == "block"


def test_a_distilled_vit_there_and_back(save, tiny_vit_state, here):
    content = {"model": {f"model.{key}": tensor for key, tensor in tiny_vit_state.items()}, "optimizer": {}, "step": 1}
    save(content, "a.pth")
    convert("a.pth", "folder", backbone="augreg_tiny")
    assert read_model_info("folder").kind == "distilled"
    convert("folder", "b.pth")
    back = torch.load(here / "b.pth", weights_only=True)["model"]
    assert_same({key: back[key] for key in content["model"]}, content["model"])
    assert len(back) == len(content["model"])
    assert (here / "folder" / "README.md").read_text().count("distilled") >= 1
    with pytest.raises(WeightsError, match="of another shape"):
        convert("a.pth", "other", backbone="vit_small_patch16_224.dino")
    assert not (here / "other").exists()


def test_a_vit_of_a_training_becomes_a_model_folder_and_what_is_left_out_is_said(save, tiny_vit_state):
    teacher = {f"backbone.{key}".replace("blocks.", "blocks.0."): tensor for key, tensor in tiny_vit_state.items()}
    path = save({"teacher": {**teacher, "dino_head.last_layer.weight": torch.ones(3)}, "student": teacher}, "a.pth")
    notes = convert("a.pth", "folder", backbone="augreg_tiny")
    assert notes == ["no part of the ViT, left out: dino_head (1 tensor)"]
    state, info = read_model_folder("folder")
    assert info.kind == "distilled"
    assert_same({key: state[key] for key in tiny_vit_state}, tiny_vit_state)
    assert len(state) == len(tiny_vit_state)
    model, _ = dvt.load_denoised("augreg_tiny", path, device="cpu", image_size=32)
    assert_same(model.vit.state_dict(), tiny_vit_state)


def test_what_the_original_cannot_hold_is_said(save):
    save({"denoiser": block_state(192)}, "a.pth")
    convert("a.pth", "folder", backbone="augreg_tiny")
    state, info = read_model_folder("folder")
    architecture = {**info.architecture, "head_channels": 32}
    spec = replace(info.spec, layer=3, norm=False)
    write_model_folder("odd", state, replace(info, spec=spec, architecture=architecture))
    notes = "\n".join(convert("odd", "b.pth"))
    assert "layer 3" in notes and "final norm" in notes and "32 channels" in notes


def test_a_folder_needs_the_backbone(save, here):
    save({"denoiser": block_state(192)}, f"{TINY}.pth")
    with pytest.raises(WeightsError, match=rf"add backbone=<name>.*By its name: backbone={TINY}\?"):
        convert(f"{TINY}.pth", "folder")
    save({"denoiser": block_state(192)}, "denoiser.pth")
    with pytest.raises(WeightsError) as caught:
        convert("denoiser.pth", "folder")
    assert "By its name" not in str(caught.value) and not (here / "folder").exists()


def test_the_wrong_backbone(save, here):
    save({"denoiser": block_state(64)}, "a.pth")
    with pytest.raises(WeightsError, match="made for 64 channels"):
        convert("a.pth", "folder", backbone="augreg_tiny")
    save({"denoiser": block_state(192)}, "b.pth")
    convert("b.pth", "folder", backbone="augreg_tiny")
    with pytest.raises(WeightsError, match=f"belongs to {TINY}, not to backbone=dino_small"):
        convert("folder", "c.pth", backbone="dino_small")
    assert not (here / "c.pth").exists()


@pytest.mark.parametrize("out", ["b.safetensors", "b.ckpt", "b.pt"])
def test_other_endings_are_refused(save, out):
    save({"denoiser": block_state(192)}, "a.pth")
    with pytest.raises(ConfigError, match=r"ends in \.pth for the original"):
        convert("a.pth", out, backbone="augreg_tiny")


def test_nothing_is_overwritten(save, here):
    path = save({"denoiser": block_state(192)}, "a.pth")
    before = path.read_bytes()
    for out in (path, here):
        with pytest.raises(ConfigError, match="is there already"):
            convert("a.pth", out, backbone="augreg_tiny")
    assert path.read_bytes() == before
