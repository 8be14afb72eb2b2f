"""`dvt train` as people call it."""

import csv
import importlib
import json
import shlex

import pytest
import torch
from safetensors.torch import save_file

from dvt.backbone.sources.timm_build import build_vit
from dvt.errors import WeightsError
from dvt.store import FeatureStore
from dvt.weights.build import load_denoised
from dvt.weights.folder import read_model_folder

FEW = (
    "num_steps=4", "batch_size=2", "save_every=2", "validate_every=2", "show_every=0", "log_every=1", "trainer=cpu",
    "logger=none",
)  # fmt: skip


@pytest.fixture
def store(made):
    """store and photos in the working folder."""
    made("store", "photos")
    return "store"


@pytest.fixture
def trained(store, made):
    """The folder of a finished denoiser of that store; `FEW` made it."""
    made("denoiser").rename("run")
    return "run"


def test_from_a_store_to_a_denoiser(dvt, store, tmp_path):
    result = dvt("train", f"store={store}", "out=run", *FEW)
    assert result.code == 0
    assert "5 images -> run   vit_micro_patch16_224" in result.err and "4 steps of 2" in result.err
    assert "raw -> denoised, on the validation images: squared error" in result.err
    state, info = read_model_folder(tmp_path / "run", kind="denoiser")
    assert info.spec == FeatureStore.open(tmp_path / store).meta.spec
    assert state["pos_embed"].shape == (1, 16, 192)


def test_the_smoke_trainer_sees_everything_once(dvt, store, tmp_path):
    assert dvt("train", f"store={store}", "out=run", "trainer=smoke").code == 0
    (table,) = (tmp_path / "run" / "logs").glob("*/metrics.csv")
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert {"train/loss", "train/samples_per_s", "train/learning_rate", "val/mse", "val/cosine"} <= rows[0].keys()
    assert [row["step"] for row in rows if row["val/mse"]][:2] == ["1", "3"]
    assert len(list((tmp_path / "run" / "panels").iterdir())) == 2


def test_tensorboard_gets_numbers_and_images(dvt, store, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert dvt("train", f"store={store}", "out=run", *FEW, "logger=tensorboard", "show_every=2").code == 0
    (folder,) = (tmp_path / "run" / "logs").iterdir()
    events = EventAccumulator(str(folder))
    events.Reload()
    assert {"train/loss", "val/mse"} <= set(events.Tags()["scalars"])
    assert events.Tags()["images"] == ["val/samples"]


def test_a_sweep(dvt, store, tmp_path):
    result = dvt("train", "-m", f"store={store}", "out=run${denoiser.num_blocks}", "denoiser.num_blocks=1,2", *FEW)
    assert result.code == 0
    sizes = [len(read_model_folder(tmp_path / f"run{n}")[0]) for n in (1, 2)]
    assert sizes == [13, 25]


def test_more_steps_on_a_finished_run_are_a_change_and_are_refused(dvt, store, trained):
    refused = dvt("train", f"store={store}", "out=run", *FEW, "num_steps=6")
    assert refused.code == 2 and "num_steps: 4 in the checkpoint, 6 in the request" in refused.err
    allowed = dvt("train", f"store={store}", "out=run", *FEW, "num_steps=6", "allow_changes=true")
    assert allowed.code == 0 and "continuing at step 4" in allowed.err
    assert "changed: num_steps: 4 in the checkpoint, 6 in the request" in allowed.err
    assert dvt("train", f"store={store}", "out=run", *FEW, "resume=none").code == 2


def test_with_images_raw_features_are_computed(dvt, store, tmp_path):
    result = dvt(
        "train", f"store={store}", "out=run", *FEW, "pairs.raw=recomputed", "images=photos", "backbone.weights=random"
    )
    assert result.code == 0 and "raw recomputed" in result.err
    refused = dvt("train", f"store={store}", "out=other", *FEW, "pairs.raw=recomputed", "images=photos")
    assert refused.code == 2  # the pretrained weights cannot be had, or are others than the store's


VIT = "vit_tiny_patch16_224.augreg_in21k_ft_in1k"
OWN = (f"backbone.timm={VIT}", "backbone.weights=my vit.safetensors", "backbone.image_size=64")
OF_STORE = ("quality=tiny", "views.num_views=2", "device=cpu")


@pytest.fixture
def own_vit(made, tmp_path, monkeypatch):
    """photos/ and the weights of a ViT, `my vit.safetensors`; nothing can be downloaded."""
    made("photos")
    save_file(
        {key: tensor + 0.01 for key, tensor in build_vit(VIT).state_dict().items()}, tmp_path / "my vit.safetensors"
    )
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.mark.parametrize("way", ["a store", "images"])
def test_the_printed_code_loads_a_denoiser_of_own_vit_weights_without_network(dvt, own_vit, photo, way):
    if way == "a store":
        assert dvt("decompose", "images=photos", "store=store", *OWN, *OF_STORE).code == 0
        result = dvt("train", "store=store", "out=den", *FEW)
    else:
        images = ("images=photos", "stream.quality=tiny", "stream.num_views=2")
        result = dvt("train", "out=den", *images, *OWN, *FEW)
    assert result.code == 0, result.err
    (line,) = (line for line in result.err.splitlines() if line.startswith("written: den"))
    code = line.partition("use it: ")[2].removesuffix(", or")
    assert code == "dvt.load_denoised(weights='den', backbone_weights='my vit.safetensors')"
    model, preprocess = eval(code, {"dvt": importlib.import_module("dvt")})
    assert model(preprocess(torch.rand(3, 64, 64))[None]).patches.shape == (1, 4, 4, 192)

    command = shlex.split(result.err.splitlines()[-1])
    assert command[:2] == ["dvt", "show"] and "backbone.weights=my vit.safetensors" in command
    photo("a.png")
    shown = dvt(*(part.replace("image=...", "image=a.png") for part in command[1:]), *OF_STORE[:2])
    assert shown.code == 0, shown.err

    without = dvt(*(part.replace("image=...", "image=a.png") for part in command[1:] if "weights" not in part))
    assert without.code == 2 and "backbone.weights=<file>" in without.err
    with pytest.raises(WeightsError) as caught:
        load_denoised(weights="den", device="cpu")
    text = str(caught.value)
    assert text.startswith(f"the denoiser den was found, its ViT was not: the weights of {VIT} could not be fetched")
    assert "backbone_weights=<file>" in text and "(weights=<file>" not in text


def test_weights_of_which_no_file_is_known_are_not_named_in_the_printed_code(dvt, made, tmp_path):
    """The store is of before its runs recorded the file."""
    made("store", "photos")
    for record in (tmp_path / "store" / "runs").iterdir():
        body = json.loads(record.read_text())
        assert body["backbone"].pop("weights") == "random"
        record.write_text(json.dumps(body))
    result = dvt("train", "store=store", "out=run", *FEW)
    assert "use it: dvt.load_denoised(weights='run'), or\n" in result.err and "backbone.weights" not in result.err


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("backbone=dinov2_base",), "backbone: 'vit_micro_patch16_224.dvt' in the store, 'vit_base"),
        (("backbone.layer=3",), "layer: 5 in the store, 3 in the request"),
        (("backbone.layer=-2",), "layer: 5 in the store, 4 in the request"),
        (("recipe=layers",), "give images=... as for dvt decompose"),
        (
            ("recipe=all_blocks", "pairs.raw=stored"),
            "denoiser.layers=all: a store holds the features of one block",
        ),
        (("recipe=default",), "recipe=default is now called paper, write recipe=paper"),
        (("denoiser.layers=some",), "denoiser.layers=some: give blocks counted from 0, ascending, each once, or all"),
        (("backbone.norm=false",), "norm: True in the store, False in the request"),
        (("backbone.image_size=128",), "grid: 64 x 64 px"),
        (("backbone.timm=vit_tinny",), "there is no backbone 'vit_tinny'"),
        (("num_stepps=3",), "did you mean num_steps?"),
        (("optimizer.warmup=2",), "optimizer.warmup=2.0: give 0 <= warmup < 1"),
        (("pairs.raw=recomputed", "images=more"), "1 of 6 images have no features"),
        (("logger=wanda",), "logger=wanda does not exist: give wandb"),
        (("resume=nowhere.ckpt",), "there is no checkpoint nowhere.ckpt"),
        (("trainer.precision=17",), "precision=17: give one of 32-true"),
    ],
)
def test_slips_are_named(dvt, store, photo, options, text):
    if "images=more" in options:
        for number in range(6):
            photo(f"more/{number}.png", seed=number)
        options += ("backbone.weights=random",)
    result = dvt("train", f"store={store}", "out=run", *FEW, *options)
    assert result.code == 2 and text in result.err


def test_a_store_that_is_not_there(dvt):
    result = dvt("train", "store=nowhere", "out=run", *FEW)
    assert result.code == 2 and "nowhere" in result.err
    assert "needs out=..." in dvt("train").err


def test_the_record_says_what_was_run_and_the_last_block_may_be_called_so(dvt, store, tmp_path):
    assert dvt("train", f"store={store}", "out=run", *FEW, "seed=7", "backbone.layer=-1").code == 0
    (record,) = (tmp_path / "run" / "runs").glob("*.json")
    written = json.loads(record.read_text())
    assert written["config"]["seed"] == 7 and written["environment"]["torch"] == torch.__version__


def test_help_lists_recipes_trainers_and_loggers(dvt):
    out = dvt("train", "--help").out
    for text in (
        "recipe= ",
        "trainer= auto, cpu, ddp, gpu, smoke",
        "logger= csv, none, tensorboard, wandb",
        "out=(required)",
    ):
        assert text in out


def test_a_run_that_was_moved_continues_from_other_paths(dvt, store, trained, tmp_path):
    (tmp_path / trained).rename(tmp_path / "moved")
    (tmp_path / store).rename(tmp_path / "elsewhere")
    again = dvt("train", "store=elsewhere", "out=moved", *FEW, "num_workers=0")
    assert again.code == 0 and "continuing at step 4" in again.err


def test_ridge(tiny, dvt, made):
    made("photos")
    assert tiny("decompose", "images=photos", "store=s", "backbone.image_size=160").code == 0
    ridge = ("train", "store=s", "images=photos", "recipe=ridge", "trainer=cpu", "backbone.weights=random")
    few = dvt(*ridge, "out=few")
    assert few.code == 2 and "4 training images of 100 patches are too few for 1152 inputs" in few.err
    solved = dvt(*ridge, "out=run", "denoiser.layers=[2]")
    assert solved.code == 0 and "ridge from 384 inputs, 4 MB" in solved.err and "raw -> denoised" in solved.err


STREAM = (
    "images=photos", "backbone.timm=vit_micro_patch16_224", "backbone.weights=random", "backbone.image_size=64",
    "stream.quality=tiny", "stream.num_views=3",
)  # fmt: skip


def test_from_images_to_a_denoiser(dvt, made, tmp_path):
    made("photos")
    result = dvt("train", *STREAM, "out=run", *FEW)
    assert result.code == 0
    assert "5 images -> run   vit_micro_patch16_224" in result.err and "stage 1 in memory (tiny)" in result.err
    assert "5 images decomposed, 0 failed" in result.err and "raw -> denoised" in result.err
    assert read_model_folder(tmp_path / "run", kind="denoiser")[1].training["num_images"] == 4
    again = dvt("train", *STREAM, "out=run", *FEW, "num_steps=6", "allow_changes=true")
    assert again.code == 0 and "continuing at step 4" in again.err
    (tmp_path / "photos" / "2.png").write_bytes(b"no image")
    broken = dvt("train", *STREAM, "out=other", *FEW)
    assert broken.code == 3 and "failed: 2.png: " in broken.err and "4 images decomposed, 1 failed" in broken.err


def test_without_a_store_and_without_images(dvt):
    result = dvt("train", "out=run")
    assert result.code == 2 and "needs store=... (what dvt decompose wrote), or images=..." in result.err
