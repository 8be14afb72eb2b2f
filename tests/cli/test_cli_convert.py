"""`dvt convert` writes the other layout, lists what there is, and explains wrong use."""

import sys
from pathlib import Path

import pytest
import torch

from dvt.weights.folder import read_model_folder, read_model_info

sys.path.append(str(Path(__file__).parents[1] / "weights"))

from originals import block_state

TINY = "vit_tiny_patch16_224.augreg_in21k_ft_in1k"


@pytest.fixture
def file(tmp_path, monkeypatch):
    """A denoiser of the original, in a local folder laid out like the authors' repository."""
    monkeypatch.delenv("DVT_HOME", raising=False)
    path = tmp_path / "checkpoints" / "mine_denoised" / f"{TINY}.pth"
    path.parent.mkdir(parents=True)
    torch.save({"denoiser": block_state(192)}, path)
    return path


def test_there_and_back(dvt, file, tmp_path):
    there = dvt("convert", str(file), "folder", "backbone=augreg_tiny")
    assert there.code == 0 and there.out == "folder\n" and there.err == ""
    assert read_model_info("folder").spec.backbone == TINY
    back = dvt("convert", "folder", "new/back.pth")
    assert back.code == 0 and back.out == "new/back.pth\n" and f"belongs to {TINY}" in back.err
    state = torch.load(tmp_path / "new" / "back.pth", weights_only=True)["denoiser"]
    assert all(torch.equal(state[key], tensor) for key, tensor in block_state(192).items())


def test_a_name_and_the_backbone_before_the_rest(dvt, file):
    assert dvt("convert", "backbone=augreg_tiny", "mine_denoised/augreg_tiny", "folder").code == 0
    assert read_model_folder("folder", kind="denoiser")[1].spec.channels == 192


def test_the_list(dvt, file):
    everything = dvt("convert", "list").out
    for part in (
        "voc_denoised/vit_base_patch14_dinov2.lvd142m",
        "on the hub  = voc_denoised/dinov2_base",
        "on the hub, not checked  = voc_distilled/dinov2_base",
        f"mine_denoised/{TINY}",
        f"checkpoints/mine_denoised/{TINY}.pth  = mine_denoised/augreg_tiny",
    ):
        assert part in everything, part
    assert len(dvt("convert", "list", "*dinov2*").out.splitlines()) == 10
    nothing = dvt("convert", "list", "*dinov9*")
    assert nothing.code == 2 and "no name fits '*dinov9*'" in nothing.err


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ([], ["takes a source and where to write, 0 were given", "usage:"]),
        (["a.pth"], ["1 were given"]),
        (["a.pth", "b", "c"], ["3 were given"]),
        (["a.pth", "b", "bakbone=dino_base"], ["no option 'bakbone'", "did you mean backbone=?"]),
        (["a.pth", "b", "colour=red"], ["there is backbone= alone"]),
        (["a.pth", "b", "backbone=x", "backbone=y"], ["more than once"]),
        (["list", "a", "b"], ["takes one pattern"]),
        (["a.pth", "b"], ["a.pth does not exist"]),
        (["voc_denoised/dinov2_bse", "b"], ["Nearest names: voc_denoised/dinov2_base"]),
    ],
    ids=" ".join,
)
def test_wrong_use_is_explained(dvt, tmp_path, arguments, parts):
    result = dvt("convert", *arguments)
    assert result.code == 2 and result.out == "" and result.err.startswith("dvt: ")
    assert all(part in result.err for part in parts), result.err
    assert list(tmp_path.iterdir()) == []


def test_a_missing_backbone_and_a_wrong_one(dvt, file):
    missing = dvt("convert", str(file), "folder")
    assert missing.code == 2 and f"backbone={TINY}?" in missing.err
    wrong = dvt("convert", str(file), "folder", "backbone=augreg_tny")
    assert wrong.code == 2 and "augreg_tiny" in wrong.err
    assert "is there already" in dvt("convert", str(file), str(file)).err


def test_the_page(dvt):
    page = dvt("convert", "--help")
    assert page.code == 0 and "dvt convert list" in page.out and "backbone=" in page.out
    assert all(len(line) <= 120 for line in page.out.splitlines())
