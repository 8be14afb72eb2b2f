"""Paths come through Hydra's grammar as they are on the disk; user configs, `-c job` and the environment."""

import os
from copy import deepcopy
from importlib import import_module

import pytest
import yaml
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from dvt.cli import decompose
from dvt.cli.arguments import prepare, quote
from dvt.cli.decompose import Options


def parsed(argument, *flags):
    _, (ready,) = prepare("decompose", Options, [*flags, argument])
    return OverridesParser.create().parse_override(ready).value()


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1))
def test_a_quoted_text_is_read_back_as_it_was(text):
    assert OverridesParser.create().parse_override(f"store={quote(text)}").value() == text


@pytest.mark.parametrize(
    "path",
    ["a b", "a,b", "a=b", "ä ö", "it's", 'say "so"', "back\\slash", "end\\", "(1)", "x{1}", "#1", "2024", "true"],
)
def test_paths_need_no_quotes(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert parsed(f"store={path}") == path


def test_brackets_are_a_list_unless_there_is_such_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert parsed("images=[a.png,b c.png]") == ["a.png", "b c.png"]
    assert parsed("images=photos/[0-9]*.png") == "photos/[0-9]*.png"
    (tmp_path / "[a.png,b]").touch()
    assert parsed("images=[a.png,b]") == "[a.png,b]"


def test_commas_are_a_sweep_only_where_one_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert prepare("decompose", Options, ["store=a,b"]) == ([], ["store='a,b'"])
    assert prepare("decompose", Options, ["store=a,b", "-m"]) == (["--multirun"], ["store=a,b"])
    (tmp_path / "a,b").mkdir()
    assert prepare("decompose", Options, ["-m", "store=a,b"]) == (["--multirun"], ["store='a,b'"])


def test_tilde_is_home_and_what_hydra_reads_is_left_alone(monkeypatch):
    monkeypatch.setenv("HOME", "/home of me")
    assert parsed("store=~/runs") == "/home of me/runs"
    assert parsed("backbone.weights=null") is None
    assert parsed("store='a b'") == "a b"
    assert prepare("decompose", Options, ["store=runs/${seed}"]) == ([], ["store=runs/${seed}"])


def test_c_job_prints_the_options_and_does_nothing(dvt, tmp_path):
    result = dvt("decompose", "quality=tiny", "backbone=mae_large", "images=photos", "-c", "job")
    options = yaml.safe_load(result.out)
    assert result.code == 0 and result.err == ""
    assert options["views"]["num_views"] == 8 and options["backbone"]["name"] == "mae_large"
    assert (options["images"], options["store"], options["solver"]) == ("photos", "???", "closed_form")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("argument", "part", "flag"),
    [
        ("+zzzz=3", "no option 'zzzz'", ["--cfg", "job"]),
        ("views.num_views=0", "views.num_views=0: give at least 1", ["--cfg", "job"]),
        ("closed_form.smoothness=nan", "give a finite number", ["--cfg", "job"]),
        ("shard=9/4", "shard=9/4: give i/n", ["--cfg", "job"]),
        ("views.num_view=1", "did you mean views.num_views", ["--cfg", "job"]),
        ("shard=9/4", "shard=9/4: give i/n", ["--cfg", "all"]),
        ("shard=9/4", "shard=9/4: give i/n", ["--info", "defaults"]),
    ],
)
def test_configs_are_checked_before_they_are_printed(dvt, argument, part, flag):
    result = dvt("decompose", argument, *flag)
    assert result.code == 2 and part in result.err and result.out == ""


def test_cfg_prints_hydras_options_a_package_and_resolved_values(dvt):
    hydra = yaml.safe_load(dvt("doctor", "--cfg", "hydra").out)
    assert hydra["hydra"]["output_subdir"] is None and list(hydra) == ["hydra"]
    assert set(yaml.safe_load(dvt("doctor", "-c", "all").out)) > {"hydra", "backbone"}
    part = dvt("decompose", "--cfg", "job", "--package", "views", "quality=tiny").out
    assert part.startswith("# @package views") and yaml.safe_load(part)["num_views"] == 8
    seed = ("doctor", "images=x", "out=s${seed}", "seed=3", "--cfg", "job")
    assert yaml.safe_load(dvt(*seed).out)["out"] == "s${seed}"
    assert yaml.safe_load(dvt(*seed, "--resolve").out)["out"] == "s3"


def test_a_root_config_of_ones_own(dvt, tmp_path, monkeypatch):
    monkeypatch.setattr(ConfigStore.instance(), "repo", deepcopy(ConfigStore.instance().repo))
    ConfigStore.instance().repo.pop("backbone", None)
    (tmp_path / "mine.yaml").write_text("defaults: [decompose, _self_]\nseed: 11\n")
    (tmp_path / "bare.yaml").write_text("seed: 11\n")
    (tmp_path / "backbone").mkdir()
    (tmp_path / "backbone" / "mae_base.yaml").write_text("name: augreg_tiny\nlayer: 5\n")
    shown = ("--config-dir", ".", "--cfg", "job")
    options = yaml.safe_load(dvt("decompose", "--config-name", "mine", *shown, "backbone=mae_base").out)
    assert options["seed"] == 11 and options["backbone"]["name"] == "augreg_tiny" and options["backbone"]["layer"] == 5
    bare = dvt("decompose", "-cn", "bare", *shown)
    assert bare.code == 2 and "begin it with defaults: [decompose, _self_]" in bare.err


def test_configs_of_ones_own(dvt, tmp_path):
    folder = tmp_path / "my configs" / "quality"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text("# @package _global_\nviews: {num_views: 5}\n")
    (folder / "typo.yaml").write_text("# @package _global_\nviews: {num_view: 5}\n")
    (folder / "wrong.yaml").write_text("# @package _global_\nviews: {num_views: lots}\n")
    (folder / "broken.yaml").write_text("views: {num_views: 5\n- x")

    def composed(quality):
        return dvt("decompose", "-c", "job", "--config-dir", str(folder.parent), f"quality={quality}")

    assert yaml.safe_load(composed("mine").out)["views"]["num_views"] == 5
    assert yaml.safe_load(composed("fast").out)["views"]["num_views"] == 41
    for quality, part in {"typo": "num_views", "wrong": "'lots'", "broken": "broken.yaml", "mein": "mine"}.items():
        result = composed(quality)
        assert result.code == 2 and part in result.err, result.err


@pytest.mark.parametrize("before", [None, "0"])
def test_a_fault_of_ours_keeps_its_traceback_and_the_environment(dvt, monkeypatch, capsys, before):
    def crash(options, choices):
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(decompose, "work", crash)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    if before:
        monkeypatch.setenv("HYDRA_FULL_ERROR", before)
    with pytest.raises(ZeroDivisionError, match="ours") as caught:
        dvt("decompose", "images=x", "store=s")
    assert "crash" in [entry.name for entry in caught.traceback]
    assert os.environ.get("HYDRA_FULL_ERROR") == before
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("verb", "name"),
    [
        ("train", "resume"),
        ("train", "logger.name"),
        ("evaluate", "saliency.masks"),
        ("export", "backbone.timm"),
        ("decompose", "shard"),
    ],
)
@pytest.mark.parametrize("value", ["lr=1/checkpoints/a.ckpt", "a,b", "x{1}", "it's (2)", "[0-9]", "k: v", "1e-4"])
def test_every_option_that_holds_a_text_is_taken_literally(verb, name, value):
    module = import_module(f"dvt.cli.{verb}")
    _, (ready,) = prepare(verb, module.Options, [f"{name}={value}"])
    expected = ["0-9"] if value == "[0-9]" else value
    assert OverridesParser.create().parse_override(ready).value() == expected
    flags, (swept,) = prepare(verb, module.Options, ["-m", f"{name}=choice(a,b)"])
    assert flags == ["--multirun"] and OverridesParser.create().parse_override(swept).is_sweep_override()


def test_numbers_and_lists_are_left_to_hydra():
    options = ["num_steps=5,6", "denoiser.layers=[1,2]", "optimizer.clip_norm=1e-4", "trainer.devices=2"]
    assert prepare("train", import_module("dvt.cli.train").Options, options) == ([], options)
