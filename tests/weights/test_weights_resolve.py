"""Names: the authors' catalogue, local folders, and what is said of names that do not exist."""

from dataclasses import replace

import pytest
import torch
from originals import block_state

import dvt
from dvt.backbone.catalogue import CATALOGUE
from dvt.errors import WeightsError
from dvt.weights.folder import read_model_folder, write_model_folder
from dvt.weights.released import RELEASED, catalogue_spelling, timm_spelling
from dvt.weights.resolve import local_folders, resolve, resolve_for

BASE = "vit_base_patch14_dinov2.lvd142m"


def refused(source):
    with pytest.raises(WeightsError) as caught:
        dvt.load_denoiser(source)
    return str(caught.value)


def test_what_the_authors_list():
    assert len(dvt.list_denoisers()) == 13 and len(dvt.list_denoisers(distilled=True)) == 9
    assert dvt.list_denoisers("imgnet*") == [f"imgnet_denoised/{BASE}"]
    assert RELEASED[f"voc_denoised/{BASE}"].seen and not RELEASED[f"voc_distilled/{BASE}"].seen
    assert RELEASED[f"voc_denoised/{BASE}"].file == f"voc_denoised/{BASE}.pth"
    timm = {row.timm for row in CATALOGUE.values()}
    assert all(row.timm in timm for row in RELEASED.values())


@pytest.mark.parametrize(
    ("pattern", "count"),
    [
        ("*dinov2*", 7),
        ("dinov2_base", 2),
        ("voc_denoised/dinov2_base", 1),
        ("*lvd142m", 7),
        ("*base*", 9),
        ("nothing", 0),
    ],
)
def test_patterns_fit_both_spellings(pattern, count):
    assert len(dvt.list_denoisers(pattern)) == count


def test_the_two_spellings():
    for name in RELEASED:
        assert timm_spelling(catalogue_spelling(name)) == name
    assert (
        timm_spelling("a/dinov2_base") == f"a/{BASE}" and timm_spelling("mine") == catalogue_spelling("mine") == "mine"
    )


@pytest.mark.parametrize("name", [f"voc_denoised/{BASE}", "voc_denoised/dinov2_base"])
@pytest.mark.parametrize("home", ["DVT_HOME", "checkpoints"])
def test_a_local_folder_laid_out_like_the_repository(save, here, monkeypatch, home, name):
    state = block_state(768, 4)
    if home == "DVT_HOME":
        monkeypatch.setenv("DVT_HOME", str(here / "weights"))
    folder = "weights" if home == "DVT_HOME" else "checkpoints"
    save({"denoiser": state}, f"{folder}/voc_denoised/{BASE}.pth")
    denoiser = dvt.load_denoiser(name)
    assert torch.equal(denoiser.pos_embed, state["pos_embed"])
    info = denoiser.info
    assert (info.spec.backbone, info.spec.layer, info.spec.norm, info.base_license) == (BASE, 11, True, "apache-2.0")
    assert info.spec.grid.hw == (2, 2) and info.spec.grid.patch == 14 and info.spec.weights_hash is None
    assert info.training["file"] == f"voc_denoised/{BASE}.pth"


def test_the_order_of_the_local_folders(save, here, monkeypatch):
    monkeypatch.setenv("DVT_HOME", str(here / "weights"))
    for folder, fill in (("weights", 1.0), ("checkpoints", 2.0)):
        state = block_state(768, 4)
        state["pos_embed"].fill_(fill)
        save({"denoiser": state}, f"{folder}/voc_denoised/{BASE}.pth")
    assert dvt.load_denoiser("voc_denoised/dinov2_base").pos_embed.mean() == 1
    monkeypatch.delenv("DVT_HOME")
    assert dvt.load_denoiser("voc_denoised/dinov2_base").pos_embed.mean() == 2


def test_checkpoints_of_a_source_checkout(save, here, monkeypatch):
    monkeypatch.setattr("dvt.shipped.__file__", str(here / "checkout" / "dvt" / "shipped.py"))
    save({"denoiser": block_state(768, 4)}, f"checkout/checkpoints/voc_denoised/{BASE}.pth")
    (here / "checkout" / "pyproject.toml").write_text("")
    assert dvt.load_denoiser("voc_denoised/dinov2_base").grid_hw == (2, 2)
    monkeypatch.chdir(here / "checkout")
    assert len(local_folders()) == 1, "./checkpoints is the same folder"


def test_an_existing_path_comes_first(save, here):
    save({"denoiser": block_state(768, 4)}, f"checkpoints/voc_denoised/{BASE}.pth")
    near = save({"denoiser": block_state(768, 9)}, f"voc_denoised/{BASE}.pth").rename(
        here / "voc_denoised/dinov2_base.pth"
    )
    assert dvt.load_denoiser("voc_denoised/dinov2_base.pth").grid_hw == (3, 3)
    assert dvt.load_denoiser(near).info is None
    assert dvt.load_denoiser("voc_denoised/dinov2_base").grid_hw == (2, 2)


def test_own_recipes_are_found_and_listed(save, here):
    save({"denoiser": block_state(192)}, "checkpoints/camvid_denoised/vit_tiny_patch16_224.augreg_in21k_ft_in1k.pth")
    save({"denoiser": block_state(192)}, "checkpoints/mine.pth")
    save({"model": {}}, "checkpoints/my_distilled/anything.pth")
    denoiser = dvt.load_denoiser("camvid_denoised/augreg_tiny")
    assert denoiser.num_channels == 192
    names = dvt.list_denoisers("*")
    assert {"mine", "camvid_denoised/vit_tiny_patch16_224.augreg_in21k_ft_in1k"} <= set(names)
    assert dvt.list_denoisers("augreg_tiny") == ["camvid_denoised/vit_tiny_patch16_224.augreg_in21k_ft_in1k"]
    assert "my_distilled/anything" in dvt.list_denoisers(distilled=True)
    assert "my_distilled/anything" not in names
    assert dvt.load_denoiser("mine").num_channels == 192


def test_model_folders_in_a_local_folder(save, here):
    save({"denoiser": block_state(768, 4)}, f"checkpoints/voc_denoised/{BASE}.pth")
    dvt.load_denoiser("voc_denoised/dinov2_base").save_pretrained(f"checkpoints/own/{BASE}")
    assert dvt.load_denoiser("own/dinov2_base").info.spec.backbone == BASE
    state, info = read_model_folder(f"checkpoints/own/{BASE}")
    write_model_folder("checkpoints/own/student", state, replace(info, kind="distilled"))
    assert f"own/{BASE}" in dvt.list_denoisers() and "own/student" in dvt.list_denoisers(distilled=True)
    write_model_folder("checkpoints/own/exported", state, replace(info, kind="fixed_size"))
    assert "own/exported" not in [*dvt.list_denoisers(), *dvt.list_denoisers(distilled=True)]
    dvt.load_denoiser("own/dinov2_base").save_pretrained("checkpoints/alone")
    assert "alone" in dvt.list_denoisers() and dvt.load_denoiser("alone").info.spec.backbone == BASE
    assert not any("weights" in name for name in dvt.list_denoisers()), "what lies in a model folder is no model"


def test_a_recipe_stands_for_its_file_for_a_backbone(save):
    path = save({"denoiser": block_state(768, 4)}, f"checkpoints/voc_denoised/{BASE}.pth")
    assert resolve_for("voc_denoised", BASE).path.resolve() == path
    assert resolve_for("checkpoints/voc_denoised", BASE).path.resolve() == path, "a folder of files"
    assert resolve_for(path, BASE).path == path


@pytest.mark.parametrize(
    ("source", "part"),
    [
        ("voc_denoised/dinov2_bse", "voc_denoised/dinov2_base"),
        ("voc_denoised/vit_base_patch14_dinov2", f"voc_denoised/{BASE}"),
        ("dinov2_base", "voc_denoised/dinov2_base, imgnet_denoised/dinov2_base"),
        ("voc_denoised", "voc_denoised/"),
        ("zzz", "Names begin with voc_denoised"),
        ("a/b/c", "there is no file, folder or released denoiser 'a/b/c'"),
    ],
)
def test_a_wrong_name_gets_the_nearest(source, part):
    message = refused(source)
    assert part in message and "dvt.list_denoisers()" in message and "dvt convert list" in message


def test_a_name_that_is_no_recipe_is_not_joined_with_the_backbone():
    with pytest.raises(WeightsError, match=r"no file, folder or released denoiser 'nope'\. Names begin with"):
        resolve_for("nope", BASE)


@pytest.mark.parametrize("source", ["a.pth", "./a", "~/nothing/a", "folder/a.safetensors"])
def test_a_missing_file(source):
    assert f"{source} does not exist" in refused(source)


def test_a_distilled_name_is_refused_before_anything_is_fetched():
    message = refused("voc_distilled/dinov2_base")
    assert (
        "is a whole ViT that was distilled" in message
        and f"dvt.load_denoised('{BASE}', weights='voc_distilled')" in message
    )
    with pytest.raises(WeightsError, match="is a denoiser, not a whole ViT"):
        resolve("voc_denoised/dinov2_base", distilled=True)


def test_a_folder_that_is_no_model(here):
    (here / "empty").mkdir()
    assert "no folder of a model" in refused("empty")
