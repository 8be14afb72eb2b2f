"""A leaderboard is killed and continues; its rows, receipts and tables; what is refused."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import yaml
from leaderboard.tiny_board import CELLS, SPEC, arguments, change_receipt, copied, write_spec
from pyarrow import parquet

from dvt.errors import ConfigError
from dvt.evaluation.result import TaskResult
from dvt.leaderboard.spec import read_board
from dvt.shipped import shipped

COMMAND = [sys.executable, "-c", "from dvt.cli.main import main; main()"]
MACHINE = ("seconds", "receipt_sha256")
"""What two runs may differ in."""


def rows(out):
    with (out / "rows.csv").open(newline="") as file:
        return {line["cell"]: line for line in csv.DictReader(file)}


def without_time(found):
    return {cell: {name: row[name] for name in row if name not in MACHINE} for cell, row in found.items()}


def files(out):
    return {path.relative_to(out): path.read_bytes() for path in sorted((out / "receipts").rglob("*.json"))}


@pytest.mark.process
def test_after_kill_9_the_same_command_gives_the_same_rows(whole, tmp_path, command):
    spec, out = write_spec(tmp_path / "spec.yaml", doctor=None), tmp_path / "out"
    given = arguments(spec, whole.data, out)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen([*COMMAND, *given], stderr=subprocess.DEVNULL, env=environment) as started:
        while not (out / "rows.csv").exists():
            assert started.poll() is None
            time.sleep(0.005)
        started.send_signal(signal.SIGKILL)
        assert started.wait() == -signal.SIGKILL
    before, kept = rows(out), files(out)
    assert 0 < len(before) < CELLS and 0 < len(kept) < CELLS
    result = command(*given)
    assert result.code == 0, result.err
    assert without_time(rows(out)) == without_time(rows(whole.out)) and len(rows(out)) == CELLS
    assert before.items() <= rows(out).items() and kept.items() <= files(out).items()


def test_a_run_that_stops_between_its_files_continues(whole, tmp_path, command):
    """One cell has a receipt and no row yet; another has its score in the result of dvt evaluate alone."""
    out = copied(whole.out, tmp_path / "out")
    lines = (out / "rows.csv").read_text().splitlines(keepends=True)
    lost = ("early/camvid/raw,", "vit_micro/camvid/flip,")
    (out / "rows.csv").write_text("".join(line for line in lines if not line.startswith(lost)))
    (out / "rows.parquet").unlink()
    (out / "receipts/vit_micro/camvid/flip.json").unlink()
    result = command(*arguments(whole.spec, whole.data, out))
    assert result.code == 0 and "vit_micro, camvid: 1 of 4 methods to score" in result.err, result.err
    assert "(scored before)" in result.err and result.err.count("to score") == 1
    assert files(out) == files(whole.out)
    assert (out / "rows.csv").read_bytes() == (whole.out / "rows.csv").read_bytes()


def test_csv_and_parquet_hold_the_same(whole):
    table = parquet.read_table(whole.out / "rows.parquet").to_pylist()
    lines = list(rows(whole.out).values())
    assert len(table) == len(lines) == CELLS
    for typed, line in zip(table, lines, strict=True):
        assert list(typed) == list(line)
        for name, value in typed.items():
            shown = "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
            assert line[name] == shown, name


def test_a_row_is_what_the_task_scored_and_holds_nothing_of_the_machine(whole):
    row = rows(whole.out)["vit_micro/probe/raw"]
    body = json.loads((whole.out / row["receipt"]).read_text())
    (scored,) = TaskResult.from_json(json.dumps(body["result"]), source="receipt").rows.values()
    (main, *_) = body["result"]["metrics"]
    values = scored.scores.values[main["name"]]
    assert row["metric"] == main["name"] and float(row["score"]) == sum(values) / 2 and row["seeds"] == "2"
    assert json.loads(row["scores"])[main["name"]] == list(values)
    assert (
        body["seed"] == 0
        and body["result"]["protocol"]["test_images"] == 3
        and body["data_sha256"] == row["data_sha256"]
    )
    for name in ("weights_hash", "layer", "norm"):
        assert name in scored.fingerprint
    assert row["weights_sha256"] == scored.fingerprint["weights_hash"] and scored.environment["torch"] == row["torch"]
    shared = [path for path in whole.out.rglob("*") if path.is_file() and "work" not in path.parts]
    texts = [path.read_bytes() for path in shared]
    assert len(texts) > CELLS and not any(str(whole.data.parent).encode() in text for text in texts)


def test_methods_see_the_layer_of_their_entry(whole):
    found = rows(whole.out)
    assert found["early/camvid/raw"]["score"] != found["vit_micro/camvid/raw"]["score"]
    assert "early/camvid/denoised" not in found and "vit_micro/camvid/denoised" in found


def _edit(path):
    change_receipt(path, lambda body: body["result"]["rows"]["raw"].update(passes=3))


def _resign(path):
    change_receipt(path, lambda body: body["result"]["rows"]["raw"].update(passes=3), sign=True)


def _truncate(path):
    path.write_bytes(path.read_bytes()[:200])


def _exchange(path):
    path.write_bytes(path.with_name("flip.json").read_bytes())


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_edit, "raw.json is no valid receipt (its content was changed after it was written)"),
        (_truncate, "raw.json is no valid receipt"),
        (_resign, "row vit_micro/camvid/raw does not match its receipt"),
        (_exchange, "raw.json is the receipt of vit_micro/camvid/flip, in the place of another"),
        (lambda path: path.unlink(), "row vit_micro/camvid/raw has no receipt"),
    ],
)
def test_a_changed_receipt_is_refused_by_its_name(whole, tmp_path, command, damage, said):
    out = copied(whole.out, tmp_path / "out")
    damage(out / "receipts/vit_micro/camvid/raw.json")
    result = command("leaderboard", "verify", f"out={out}")
    assert result.code == 2 and said in result.err, result.err
    assert (out / "rows.csv").read_bytes() == (whole.out / "rows.csv").read_bytes()


def test_a_changed_row_or_receipt_stops_a_run(whole, tmp_path, command):
    out = copied(whole.out, tmp_path / "out")
    path = out / "receipts/vit_micro/camvid/raw.json"
    before = path.read_bytes()
    _edit(path)
    result = command(*arguments(whole.spec, whole.data, out))
    assert result.code == 2 and "raw.json is no valid receipt" in result.err, result.err
    path.write_bytes(before)
    score = rows(out)["early/camvid/flip"]["score"]
    (out / "rows.csv").write_text((out / "rows.csv").read_text().replace(score, "99.5"))
    result = command(*arguments(whole.spec, whole.data, out))
    assert result.code == 2 and "early/camvid/flip does not match" in result.err, result.err
    assert "score: 99.5 in the row" in result.err


def test_other_data_or_options_are_refused(whole, tmp_path, command):
    tasks = [{**SPEC["tasks"][0], "options": {**SPEC["tasks"][0]["options"], "num_neighbours": 3}}, SPEC["tasks"][1]]
    other = write_spec(tmp_path / "spec.yaml", tasks=tasks)
    out = copied(whole.out, tmp_path / "out")
    result = command(*arguments(other, whole.data, out))
    assert result.code == 2 and "vit_micro/camvid/raw was scored on other data or with another" in result.err
    assert "task.options.num_neighbours: nothing in the receipt, 3 in the request" in result.err
    data = copied(whole.data, tmp_path / "data")
    (data / "camvid/extra.txt").write_text("one file more")
    result = command(*arguments(whole.spec, data, out))
    assert result.code == 2 and "data_sha256" in result.err and "delete" in result.err, result.err


def test_further_weights_and_methods_leave_rows_alone(whole, tmp_path, command):
    """Names that mean the same are one method; a ViT gets a second denoiser, and its rows stay."""
    shutil.copytree(shipped("checkpoints") / "vit_micro" / "denoiser", tmp_path / "own")
    weights = ["vit_micro/denoiser", str(tmp_path / "own")]
    vit = {**SPEC["backbones"][0], "denoiser": weights, "methods": ["denoised:denoiser", "denoised:own", "tiles@2x"]}
    spec = write_spec(tmp_path / "spec.yaml", backbones=[vit], methods=["raw"], tasks=SPEC["tasks"][:1], doctor=None)
    out = copied(whole.out, tmp_path / "out")
    given = arguments(spec, whole.data, out)
    result = command(*given)
    assert result.code == 0 and "vit_micro, camvid: 3 of 4 methods to score" in result.err, result.err
    found = rows(out)
    assert rows(whole.out).items() <= found.items()
    scores = {found[f"vit_micro/camvid/{name}"]["score"] for name in ("denoised", "denoised:denoiser", "denoised:own")}
    assert len(scores) == 1 and "vit_micro/camvid/tiles" in found
    assert "to score" not in command(*given).err
    verified = command("leaderboard", "verify", f"out={out}", "cell=vit_micro/camvid/denoised:own", "tolerance=0")
    assert verified.code == 0, verified.err


@pytest.mark.other_types  # the check of a list of images would read the broken one
def test_what_fails_is_named_and_the_others_are_scored(whole, tmp_path, command):
    """A ViT whose weights cannot be read, a task with a broken image; rows of the first specification stay."""
    (tmp_path / "broken.safetensors").write_bytes(b"no weights")
    damaged = copied(whole.data / "camvid", tmp_path / "damaged")
    next((damaged / "test").iterdir()).write_bytes(b"no image")
    backbones = [
        {"label": "broken", "name": "vit_micro", "weights": str(tmp_path / "broken.safetensors")},
        {"label": "new", "name": "vit_micro"},
    ]
    tasks = [{**SPEC["tasks"][0], "label": "damaged", "data": str(damaged)}, SPEC["tasks"][0]]
    spec = write_spec(tmp_path / "spec.yaml", backbones=backbones, methods=["raw"], tasks=tasks, doctor=None)
    out = copied(whole.out, tmp_path / "out")
    result = command(*arguments(spec, whole.data, out))
    assert result.code == 3 and "failed: broken: " in result.err, result.err
    assert "failed: new/damaged/raw: " in result.err
    found = rows(out)
    assert set(found) == {*rows(whole.out), "new/camvid/raw"} and rows(whole.out).items() <= found.items()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"backbones": [{"name": "vit_mikro"}]},
            "backbones[0]: there is no backbone 'vit_mikro'. Nearest names: vit_micro",
        ),
        ({"backbones": [{"name": "vit_micro", "lyer": 3}]}, "backbones[0].lyer does not exist: did you mean layer?"),
        ({"backbones": [{"name": "vit_micro", "norm": "no"}]}, "backbones[0].norm is 'no': give true or false"),
        ({"backbones": [{"name": "vit_micro", "image_size": 64}]}, "backbones[0].image_size does not exist"),
        ({"backbones": [{"name": "vit_micro"}] * 2}, "vit_micro is there twice"),
        ({"backbones": [{"name": "vit_micro", "weights": "${data}/a.pth"}]}, "backbones[0].weights: there is no file"),
        ({"backbones": [{"name": "vit_micro", "label": "../a"}]}, "backbones[0].label is '../a'"),
        ({"backbones": []}, "backbones is []: give a list"),
        ({"methods": ["tiles", "tiles@2x"]}, "tiles is there twice; leave one out"),
        ({"methods": ["raw", "dnoised"]}, "there is no method 'dnoised'"),
        ({"tasks": [{"task": "knn", "data": "x"}]}, "tasks[0].task is 'knn': give one of linear_segmentation"),
        ({"tasks": [{**SPEC["tasks"][0], "options": {"num_trian": 3}}]}, "tasks[0].options.num_trian does not exist"),
        ({"tasks": [{**SPEC["tasks"][0], "options": {"num_train": "all"}}]}, "give a whole number"),
        (
            {"tasks": [{**SPEC["tasks"][0], "options": {"layouts": ["side"]}}]},
            "layouts[0] is 'side': give one of usual",
        ),
        ({"tasks": [{**SPEC["tasks"][0], "options": {"num_train": 0}}]}, "num_train=0: give at least 1"),
        ({"tasks": [{**SPEC["tasks"][0], "data": "${home}/a"}]}, "of these only ${data} is known"),
        ({"quality": "perfect"}, "quality is 'perfect': give one of"),
        ({"doctor": {"images": "a", "num_images": 3}}, "num_images=3: give at least 16"),
        ({"bakcbones": 3}, "the specification.bakcbones does not exist: did you mean backbones?"),
    ],
)
def test_a_wrong_specification_is_refused(tmp_path, change, said):
    with pytest.raises(ConfigError) as refused:
        read_board(write_spec(tmp_path / "spec.yaml", **change), tmp_path)
    assert said in str(refused.value) and str(refused.value).startswith(f"{tmp_path / 'spec.yaml'}: ")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"backbones": [{"name": "vit_micro", "methods": ["denoised"]}]},
            "vit_micro: method=[raw,raw@2x,flip,denoised]",
        ),
        ({"tasks": [SPEC["tasks"][0], {**SPEC["tasks"][0], "label": "b", "data": "${data}/none"}]}, "none"),
    ],
)
def test_what_is_missing_is_found_before_any_work(whole, tmp_path, command, change, said):
    spec = write_spec(tmp_path / "spec.yaml", **change)
    result = command(*arguments(spec, whole.data, tmp_path / "out"))
    assert result.code == 2 and said in result.err and "to score" not in result.err, result.err
    assert not (tmp_path / "out").exists()


def test_a_wrong_command_is_refused(whole, tmp_path, command):
    (tmp_path / "text.yaml").write_text("a: [")
    given = f"out={tmp_path / 'out'}"
    for options, said in (
        ((given,), "needs spec=FILE"),
        ((given, f"spec={whole.spec}"), "give data=FOLDER, which ${data} stands for"),
        ((given, "spec=none.yaml"), "spec=none.yaml cannot be read"),
        ((given, f"spec={tmp_path / 'text.yaml'}"), "is not YAML"),
        ((given, f"spec={whole.spec}", f"data={whole.data}", "cell=a/b/c"), "belongs to dvt leaderboard verify"),
        ((f"out={whole.spec}", f"spec={whole.spec}", f"data={whole.data}"), "is a file: give a folder"),
        (("verify", given), "holds no rows of a leaderboard"),
        (("verify", f"out={whole.out}", "spec=a.yaml"), "leave spec out"),
        (("verify", f"out={whole.out}", "cell=vit_micro/camvid/tiles"), "there is no such row"),
    ):
        result = command("leaderboard", *options)
        assert result.code == 2 and said in result.err, (options, result.err)


def test_the_specifications_of_the_repository_are_valid(tmp_path):
    from test_project_files import ROOT

    from dvt.cli.leaderboard import _check_methods
    from dvt.leaderboard.spec import parse_board

    paths = sorted((ROOT / "leaderboard").glob("*.yaml"))
    assert {path.name for path in paths} >= {"quick.yaml", "tiny_vits.yaml"}
    for path in paths:
        body = yaml.safe_load(path.read_text())
        for entry in body["backbones"]:
            entry.pop("weights", None)  # their files are elsewhere
        board = parse_board(body, str(path), tmp_path)
        _check_methods(board, "cpu")
        assert len(board.tasks) == 4 and board.doctor is not None


def test_the_rows_of_the_repository_match_their_receipts():
    from test_project_files import ROOT

    from dvt.leaderboard.receipts import read_receipts
    from dvt.leaderboard.table import check_rows

    out = ROOT / "leaderboard" / "rows"
    receipts = read_receipts(out)
    assert {row.cell for row in check_rows(out, receipts)} == set(receipts) and len(receipts) >= 40
    assert not (out / "work").exists()
