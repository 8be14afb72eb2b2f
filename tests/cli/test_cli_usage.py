"""Every wrong use gets one clear message, exit code 2, and no traceback; nothing is made on the disk."""

from importlib import import_module

import pytest

from dvt.cli.arguments import MOVED
from dvt.cli.main import VERBS
from dvt.options import option_paths

GIVEN = ("decompose", "images=x", "store=s")


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["decomp"], ["no verb 'decomp'", "did you mean dvt decompose or dvt demo?"]),
        (["frobnicate"], [f"there are {', '.join(VERBS)}"]),
        (["decompose"], ["needs images=... store=...", "--help"]),
        (["decompose", "images=x"], ["needs store=..."]),
        (["show"], ["dvt show needs image=..."]),
        ([*GIVEN, "sede=3"], ["no option 'sede'", "did you mean seed?"]),
        ([*GIVEN, "num_views=3"], ["did you mean views.num_views?"]),
        ([*GIVEN, "views.num_view=3"], ["did you mean views.num_views"]),
        ([*GIVEN, "zzzz=3"], ["`dvt decompose --help` lists them"]),
        ([*GIVEN, "+zzzz=3"], ["no option 'zzzz'"]),
        ([*GIVEN, "+views.zzzz=3"], ["no option 'views.zzzz'"]),
        ([*GIVEN, "++seed=3"], ["seed is there already, write seed=3"]),
        ([*GIVEN, "+quality=fast"], ["write quality=fast"]),
        ([*GIVEN, "~seed"], ["cannot be removed"]),
        ([*GIVEN, "~seed=0"], ["cannot be removed"]),
        ([*GIVEN, "views.num_views=many"], ["views.num_views=many: give a whole number"]),
        ([*GIVEN, "gradient.learning_rate=fast"], ["gradient.learning_rate=fast: give a number"]),
        ([*GIVEN, "closed_form.smoothness=nan"], ["closed_form.smoothness=nan: give a finite number"]),
        ([*GIVEN, "gradient.learning_rate=inf"], ["gradient.learning_rate=inf: give a finite number"]),
        ([*GIVEN, "backbone.norm=maybe"], ["backbone.norm=maybe: give true or false"]),
        ([*GIVEN, "backbone.stride=x"], ["backbone.stride=x: give a whole number or null"]),
        ([*GIVEN, "solver=magic"], ["solver=magic: give one of closed_form, gradient"]),
        ([*GIVEN, "dtype=float8"], ["dtype=float8: give one of float16, float32"]),
        ([*GIVEN, "views=3"], ["views.num_views and so on"]),
        ([*GIVEN, "seed="], ["seed=: give a whole number"]),
        ([*GIVEN, "views.num_views=0"], ["views.num_views=0: give at least 1"]),
        ([*GIVEN, "quality=slow"], ["quality=slow does not exist", "best, draft, fast, paper, reference, tiny"]),
        ([*GIVEN, "backbone=dinov2_bse"], ["dinov2_base", "backbone.timm=dinov2_bse"]),
        ([*GIVEN, "backbone=vit_tiny_patch16_224"], ["backbone.timm=vit_tiny_patch16_224"]),
        ([*GIVEN, "backbone=null"], ["give one choice"]),
        ([*GIVEN, "backbone=[mae_base,dino_small]"], ["give one choice"]),
        ([*GIVEN, "backbone=mae_base,dino_small"], ["give one choice", "-m"]),
        ([*GIVEN, "backbone=1"], ["backbone=1", "vit_micro"]),
        ([*GIVEN, "quality=true"], ["quality=true", "fast"]),
        ([*GIVEN, "=1"], ["'=1' lacks the name of its option", "key=value"]),
        ([*GIVEN, "seed=1,2"], ["seed=[1,2]", "-m"]),
        ([*GIVEN, "backbone.image_size=[64"], ["backbone.image_size=[64 cannot be read", "quotes"]),
        (["decompose", "images=x", "store="], ["store= is empty: give a path"]),
        (["decompose", "images=x", "store=null"], ["store=null: give a text"]),
        (["decompose", "images", "photos", "store=s"], ["images lacks its value: write images=..."]),
        (["decompose", "nothing"], ["'nothing' is not an option", "key=value"]),
        ([*GIVEN, "--foo"], ["no flag --foo"]),
        ([*GIVEN, "--multirn"], ["did you mean --multirun?"]),
        ([*GIVEN, "-c"], ["-c takes job, hydra or all"]),
        ([*GIVEN, "--cfg=jobs"], ["--cfg takes job, hydra or all"]),
        ([*GIVEN, "--resolve"], ["--resolve belongs to --cfg"]),
        ([*GIVEN, "--package", "views"], ["--package belongs to --cfg"]),
        ([*GIVEN, "-m", "--cfg", "job"], ["--cfg and -m exclude each other"]),
        ([*GIVEN, "--cfg", "job", "--info"], ["--cfg and --info exclude each other"]),
        ([*GIVEN, "--multirun=yes"], ["--multirun takes no value, 'yes' was given"]),
        ([*GIVEN, "--cfg", "job", "--package"], ["--package takes a name"]),
        ([*GIVEN, "--cfg", "job", "--package", "vews"], ["--package vews", "did you mean views?"]),
        ([*GIVEN, "-sc", "bash"], ["dvt --shell-completion bash"]),
        ([*GIVEN, "hydra/launcher=joblib"], ["hydra/launcher=joblib has an effect in a sweep only: add -m"]),
        ([*GIVEN, "hydra/sweeper=optuna"], ["hydra/sweeper=optuna optimises a number, and dvt decompose returns none"]),
        ([*GIVEN, "-m", "hydra/launcher=jobli"], ["hydra/launcher=jobli is not installed", "denoising-vit[sweep]"]),
        ([*GIVEN, "--config-dir", "nowhere"], ["--config-dir nowhere: there is no such folder"]),
        ([*GIVEN, "shard=4/4"], ["give i/n"]),
        ([*GIVEN], ["x does not exist"]),
        (["show", "image=x"], ["x does not exist"]),
        (["show", "image=x", "method=raw"], ["method=raw: give a list"]),
        (["show", "image=x", "method=[raw,cooked]"], ["There are raw, flip, shift, srt, decomposed"]),
        (["show", "image=x", "method=[]"], ["There are raw, flip, shift, srt, decomposed"]),
        (["store"], ["needs an action", "usage:"]),
        (["store", "verfy", "s"], ["did you mean verify?"]),
        (["store", "status"], ["needs a folder"]),
        (["store", "status", "a", "b"], ["takes one folder, 2 were given"]),
        (["store", "status", "nowhere"], ["no such folder"]),
    ],
    ids=lambda value: " ".join(value) if value and isinstance(value[0], str) else None,
)
def test_wrong_use_is_explained(dvt, tmp_path, arguments, parts):
    result = dvt(*arguments)
    assert result.code == 2 and result.out == ""
    assert result.err.startswith("dvt: ") and all(part in result.err for part in parts), result.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("verb", "old"), MOVED)
def test_an_option_that_moved_names_the_new_one(dvt, tmp_path, verb, old):
    """On the command line, with `+`, as a group and, at the top level, in a config file."""
    new = MOVED[verb, old]
    assert new in option_paths(import_module(f"dvt.cli.{verb}").Options)
    assert f"{old} is now called {new}, write {new}=a,b" in dvt(verb, f"{old}=a,b").err
    assert f"{old}.x is now called {new}.x" in dvt(verb, f"+{old}.x=1").err
    if "." in old:
        return
    (tmp_path / "mine.yaml").write_text(f"defaults: [{verb}, _self_]\n{old}: {{x: 1}}\n")
    result = dvt(verb, "--config-dir", ".", "--config-name", "mine")
    assert result.code == 2 and f"no option {old!r}: it is now called {new}" in result.err


def test_verbs_with_a_number_are_named_where_a_sweeper_needs_one(dvt):
    *first, last = (verb for verb in VERBS if getattr(import_module(f"dvt.cli.{verb}"), "METRIC", None))
    err = dvt("show", "image=x", "hydra/sweeper=optuna").err
    assert f"dvt show returns none: dvt {', '.join(first)} and {last} do." in err


def test_a_file_given_as_it_is_gets_its_key(dvt, photo):
    photo("photos/a.png")
    assert "did you mean images=photos?" in dvt("decompose", "photos").err
    assert "did you mean image=photos/a.png?" in dvt("show", "photos/a.png").err


def test_pages_and_version(dvt):
    assert dvt().code == 2
    assert dvt("--help").code == dvt("help").code == 0
    assert dvt("--version").out == dvt("show", "--version").out != ""
    for verb in VERBS:
        assert f"  dvt {verb} " in dvt("--help").out
