"""vit_micro, the ViT that comes with dvt: it is there, it is small, it sees, and it has what dvt is about."""

import pytest
import torch
from torch.nn import functional

from dvt.backbone.load import load_backbone
from dvt.backbone.micro import MICRO
from dvt.demo.images import write_images, write_pieces
from dvt.shipped import shipped
from dvt.weights.build import load_denoised
from dvt.weights.folder import read_model_folder
from dvt.weights.resolve import list_denoisers


@pytest.fixture(scope="module")
def views(tmp_path_factory):
    """(30, 3, 224, 224): five pieces of each of six images."""
    folder = tmp_path_factory.mktemp("photographs")
    backbone = load_backbone("vit_micro", weights="random", device="cpu")
    pieces = write_pieces(write_images(folder / "whole"), folder / "pieces")
    return torch.stack([backbone.preprocess(piece.path) for piece in pieces])


def test_its_folder_says_what_it_is():
    state, info = read_model_folder(shipped("checkpoints") / "vit_micro", kind="backbone")
    assert info.spec.backbone == MICRO and {tensor.dtype for tensor in state.values()} == {torch.float16}
    assert "augreg" in info.training["teacher"] and info.training["num_images"] > 1000
    files = [path for path in (shipped("checkpoints") / "vit_micro").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 13 * 2**20


def test_it_needs_no_network(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    backbone = load_backbone("vit_micro", device="cpu")
    assert backbone.grid.hw == (14, 14) and backbone.num_channels == 192 and backbone.full_name == MICRO
    assert backbone.weights_hash == load_backbone(MICRO, device="cpu").weights_hash
    model, preprocess = load_denoised("vit_micro", weights="vit_micro/denoiser", device="cpu")
    assert model(preprocess(torch.rand(3, 50, 80))[None]).patches.shape == (1, 14, 14, 192)
    assert "vit_micro/denoiser" in list_denoisers()
    clean, _ = load_denoised("vit_micro", weights="vit_micro/clean", device="cpu")
    image = preprocess(torch.rand(3, 50, 80))[None]
    assert clean(image).patches.shape == (1, 14, 14, 192) and clean.has_own_vit and not model.has_own_vit
    assert not torch.allclose(clean(image).patches, model(image).patches, atol=0.1)
    assert "vit_micro/clean" in list_denoisers(distilled=True)


def nearest_is_of_the_same_photograph(backbone, views):
    with torch.no_grad():
        descriptors = functional.normalize(backbone(views).patches.mean(dim=(1, 2)), dim=-1)
    alike = descriptors @ descriptors.T - 2 * torch.eye(len(views))
    return float((alike.argmax(1) // 5 == torch.arange(len(views)) // 5).float().mean())


def test_it_sees(views):
    """The piece that is most like another is of the same photograph; by chance that is one in seven."""
    assert nearest_is_of_the_same_photograph(load_backbone("vit_micro", device="cpu"), views) > 0.8
