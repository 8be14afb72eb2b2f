"""`dvt decompose` as a person uses it: results, resuming, failures, sweeps, odd paths."""

import json
import resource
import signal

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import dvt.cli.decompose
from dvt.backbone.sources.timm_build import build_vit
from dvt.cli.reporter import TerminalReporter
from dvt.store import FeatureStore, verify


def test_a_folder_goes_into_a_store_and_the_same_command_skips_it(tiny, photo):
    photo("photos/a.png"), photo("photos/b.png", seed=1)
    first = tiny("decompose", "images=photos", "store=runs/s")
    assert first.code == 0 and "2 images -> runs/s" in first.err and "2 done, 0 there already" in first.err
    assert "next: dvt store status runs/s" in first.err and first.out == ""
    again = tiny("decompose", "images=photos", "store=runs/s")
    assert again.code == 0 and "0 done, 2 there already" in again.err
    store = FeatureStore.open("runs/s")
    assert list(store) == ["a.png", "b.png"] and store["a.png"].clean.shape == (4, 4, 192)


def test_fine_stores_f_and_a_store_without_it_is_not_continued(tiny, dvt, made, caplog):
    made("photos", "store")
    options = ("images=photos", "closed_form.nodes_per_patch=2")
    result = tiny("decompose", *options, "store=s", "fine=2")
    assert result.code == 0 and "fine=2" not in caplog.text, result.err
    assert "field      8 x 8 nodes, float16" in dvt("store", "status", "s").out
    assert dvt("store", "verify", "s").code == 0
    store = FeatureStore.open("s")
    assert store["0.png"].field.read(store.meta.spec.grid.finer(3)).shape == (12, 12, 192)
    refused = tiny("decompose", "images=photos", "store=store", "fine=2")
    assert refused.code == 2 and "field: None in the store, '4 x 4 nodes' in the request" in refused.err
    assert tiny("decompose", *options, "store=s", "fine=3").code == 0
    assert "fine=3: F has 2 x 2 nodes a patch" in caplog.text


def test_a_large_store_is_said_to_be_checked(tiny, made, monkeypatch):
    made("photos", "store")
    assert "checking" not in tiny("decompose", "images=photos", "store=store").err
    monkeypatch.setattr(dvt.cli.decompose, "LARGE_STORE_BYTES", 1000)
    assert "checking what is there already: 0.0 GB" in tiny("decompose", "images=photos", "store=store").err


def test_paths_with_blanks_commas_brackets_and_equals_signs(tiny, photo):
    photo("odd, [dir] =x ü/a b,[1]=2.png")
    result = tiny("decompose", "images=odd, [dir] =x ü", "store=st, [or] =e ü")
    assert result.code == 0 and "dvt store status 'st, [or] =e ü'" in result.err
    assert list(FeatureStore.open("st, [or] =e ü")) == ["a b,[1]=2.png"]


def test_a_list_of_images_and_a_shard(tiny, photo):
    photo("a.png"), photo("b.png"), photo("c.png")
    assert tiny("decompose", "images=[a.png,b.png,c.png]", "store=s", "shard=1/2").code == 0
    assert list(FeatureStore.open("s")) == ["b.png"]


def test_failures_are_listed_and_the_rest_is_done(tiny, photo, tmp_path):
    whole = photo("photos/whole.png").read_bytes()
    (tmp_path / "photos/text.jpg").write_text("not an image")
    (tmp_path / "photos/cut.png").write_bytes(whole[: len(whole) // 2])
    Image.new("RGB", (1, 1)).save(tmp_path / "photos/dot.png")
    Image.new("1", (2000, 2000)).save(tmp_path / "photos/bomb.png")
    result = tiny("decompose", "images=photos", "store=s", "max_pixels=1000000")
    assert result.code == 3 and "1 done, 0 there already, 4 failed of 5 images" in result.err
    for key, part in {
        "text.jpg": "not an image",
        "cut.png": "truncated",
        "dot.png": "1 x 1 px",
        "bomb.png": "max_pixels=4000000",
    }.items():
        assert any(line.startswith(f"failed: {key}:") and part in line for line in result.err.splitlines())


def test_every_kind_of_image_is_taken(tiny, photo, tmp_path):
    (tmp_path / "kinds").mkdir()
    with Image.open(photo("rgb.png")) as image:
        for mode in ("CMYK", "P", "RGBA"):
            image.convert(mode).save(tmp_path / "kinds" / f"{mode}.tif")
        Image.new("I;16", image.size, 30000).save(tmp_path / "kinds" / "I16.tif")
    result = tiny("decompose", "images=kinds", "store=s")
    assert result.code == 0 and "4 done" in result.err, result.err


@pytest.mark.other_types  # the word of image_size=big goes as far as load_backbone, which explains it
@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["images=empty"], "the folder empty is empty"),
        (["store=a.png"], "is a file: give the name of a folder"),
        (["store=photos"], "not a feature store and not empty"),
        (["backbone.stride=5"], "does not divide"),
        (["backbone.image_size=8"], "smaller than one patch"),
        (["backbone.image_size=big"], "give one number of pixels"),
        (["backbone.layer=99"], "layer 99 does not exist"),
        (["backbone.timm=resnet18"], "resnet18 cannot be used"),
        (["backbone.timm=vit_tinny_patch16_224"], "vit_tiny_patch16_224"),
        (["backbone.precision=fp8"], "Give one of fp32"),
        (["backbone.weights=nowhere.pth"], "nowhere.pth does not exist"),
        (["backbone.weights=photos/a.png"], "of no known kind"),
        (["device=gpu"], "device=gpu does not exist"),
    ],
)
def test_what_cannot_be_done_is_explained(tiny, photo, tmp_path, options, part):
    photo("a.png"), photo("photos/a.png"), (tmp_path / "empty").mkdir()
    result = tiny("decompose", "images=a.png", "store=s", *options)
    assert result.code == 2 and part in result.err
    assert not (tmp_path / "s").exists() or list(FeatureStore.open("s")) == []


def test_the_hub_out_of_reach(tiny, photo, monkeypatch, tmp_path):
    photo("a.png")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    result = tiny("decompose", "images=a.png", "store=s", "backbone.timm=vit_tiny_patch16_224", "backbone.weights=null")
    assert result.code == 2 and "backbone.weights=<file>" in result.err


def test_weights_that_do_not_fit(tiny, photo):
    photo("a.png")
    weights = build_vit("vit_micro_patch16_224").state_dict()
    missing = {name: value for name, value in weights.items() if name != "norm.weight"}
    for change, part in [
        (missing, "missing from the file"),
        (weights | {"norm.more": torch.zeros(3)}, "norm.more"),
        (weights | {"norm.weight": torch.zeros(3)}, "(192) in the model, (3) in the file"),
    ]:
        save_file(change, "weights.safetensors")
        result = tiny("decompose", "images=a.png", "store=s", "backbone.weights=weights.safetensors")
        assert result.code == 2 and part in result.err


def test_a_store_of_another_backbone_is_refused_with_both_values(tiny, made):
    made("photos", "store")
    result = tiny("decompose", "images=photos", "store=store", "backbone.layer=3", "dtype=float32")
    assert result.code == 2
    assert "layer: 5 in the store, 3 in the request" in result.err
    assert "'float16' in the store, 'float32' in" in result.err


def test_no_space_left_is_said_and_leaves_no_half_shard(tiny, photo, tmp_path):
    photo("a.png")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8000, before[1]))
    try:
        result = tiny("decompose", "images=a.png", "store=s")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert result.code == 2 and "no space left" in result.err and "run the same command again" in result.err
    assert list((tmp_path / "s" / "shards").iterdir()) == []
    assert tiny("decompose", "images=a.png", "store=s").code == 0


def test_a_sweep_runs_every_combination_and_leaves_no_folder(tiny, photo, tmp_path):
    photo("a.png")
    options = ("-m", "images=a.png", "backbone.layer=99,2", "quality=tiny,fast")
    result = tiny("decompose", *options, "store=runs/${hydra:runtime.choices.quality}/${backbone.layer}")
    assert result.code == 2 and result.err.count("layer 99 does not exist") == 2  # the others are done all the same
    made = sorted(str(path.parent.relative_to(tmp_path)) for path in tmp_path.glob("runs/*/*/meta.json"))
    assert made == ["runs/fast/2", "runs/tiny/2"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "runs"]


def test_the_record_of_a_run_names_the_chosen_quality(tiny, photo, tmp_path):
    photo("a.png")
    tiny("decompose", "images=a.png", "store=s", "seed=7")
    assert json.loads((tmp_path / "s/meta.json").read_text())["quality"] == "tiny"
    (record,) = (json.loads(path.read_text()) for path in (tmp_path / "s/runs").glob("*.json"))
    assert record["seed"] == 7 and record["config"]["views"]["num_views"] == 3


def test_ctrl_c_ends_a_sweep_says_how_to_go_on_and_the_same_command_does(tiny, photo, monkeypatch):
    for index in range(4):
        photo(f"photos/{index}.png", seed=index)
    command = ("decompose", "-m", "images=photos", "backbone.layer=3,4", "store=s${backbone.layer}")

    class Impatient(TerminalReporter):
        def advance(self, count=1, note=""):
            super().advance(count, note)
            if self._completed == 2:
                signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr("dvt.cli.reporter.TerminalReporter", Impatient)
        stopped = tiny(*command)
    assert stopped.code == 130 and "The same command again continues" in stopped.err
    assert len(FeatureStore.open("s3")) == 2 and verify("s3").ok
    resumed = tiny(*command)
    assert resumed.code == 0 and "2 done, 2 there already" in resumed.err and len(FeatureStore.open("s4")) == 4
