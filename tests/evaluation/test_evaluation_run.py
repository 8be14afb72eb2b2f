"""dvt.evaluate: tables of planted scores, JSON there and back, resume, refusal and caching."""

import json
import math
from dataclasses import is_dataclass, replace
from importlib import import_module

import pytest
import torch
from mean_colours import MeanColours
from recorder import Recorder
from tiny_camvid import write_camvid

import dvt
from dvt.errors import ConfigError, EvaluationError
from dvt.evaluation.config.segmentation import KnnSegmentationConfig
from dvt.evaluation.report import write_report
from dvt.evaluation.result import MethodResult, TaskResult
from dvt.evaluation.run import evaluate
from dvt.evaluation.table import findings, markdown, notes, table
from dvt.evaluation.task import Metric, Scores
from dvt.evaluation.tasks import TASKS
from dvt.methods.method import OnePass
from dvt.methods.zoom import Tiles
from dvt.viz.explorer import ExplorerImage, explorer_frame, image_data

MIOU = Metric("mIoU", "%", True, "Mean overlap.")
RMSE = Metric("RMSE", "m", False, "Root of the mean squared error.")


def named(name, value=0.0):
    """A method with a name and an option."""
    method = MeanColours(name=name)
    method.options = {"value": value, "pair": (1, 2)}
    return method


class Planted:
    """A task that returns given scores, and records the methods it was asked for."""

    def __init__(self, scores, metrics=(MIOU,), protocol=None):
        self.scores, self.metrics, self.protocol = scores, metrics, protocol or {"size": (64, 64), "seeds": 3}
        self.name, self.asked = "planted", []

    def evaluate(self, method, reporter):
        self.asked.append(method.name)
        reporter.start(1, "images")
        scores = self.scores[method.name]
        if isinstance(scores, BaseException):
            raise scores
        return scores if isinstance(scores, Scores) else Scores(values={"mIoU": scores})


def result_of(rows, metrics=(MIOU,)):
    result = TaskResult(task="planted", data="here", backbone="vit", protocol={"seeds": 3}, metrics=metrics)
    for name, scores in rows.items():
        given = scores if isinstance(scores, Scores) else Scores(values={"mIoU": scores})
        result = result.with_row(name, MethodResult(scores=given, passes=1, seconds=1.0, fingerprint={}))
    return result


def test_a_table_has_mean_and_spread_of_the_seeds():
    heads, rows = table(result_of({"raw": (1.0, 2.0, 3.0), "srt": (4.0,)}))
    assert heads == ["method", "passes", "mIoU (%)"]
    assert rows == [["raw", "1", "2.0 ± 1.0"], ["srt", "1", "4.0"]]


def test_nothing_has_no_sign():
    share = Metric("share", "", True, "A share.")
    rows = {name: Scores(values={"share": (value,)}) for name, value in (("raw", -0.0001), ("srt", -0.0003))}
    result = result_of(rows, metrics=(share,))
    assert "-0.000" not in markdown(result) and "share +0.000 over raw" in findings(result)[0]


def test_what_is_no_number_is_not_printed_as_one():
    result = result_of({"raw": (math.nan,), "srt": Scores(values={"mIoU": (1.0,)}, notes=("why",))})
    assert "nan" not in markdown(result).lower() and "n/a" in markdown(result)
    assert "NaN" not in result.to_json()
    back = TaskResult.from_json(result.to_json(), source="x")
    assert math.isnan(back.mean("raw", "mIoU")) and back.mean("srt", "mIoU") == 1.0


def test_gains_are_told_over_raw_and_over_the_best_zoom_baseline():
    line, caveat = findings(result_of({"raw": (10.0,), "raw@2x": (14.0,), "tiles": (13.0,), "srt": (15.5,)}))
    assert line == "srt: mIoU +5.5 over raw, +1.5 over the best zoom baseline (raw@2x, 1 pass)."
    assert "there is no spread" in caveat


def test_without_seeds_nothing_is_called_within_their_spread():
    line, _ = findings(result_of({"raw": (10.0,), "tiles": (10.0,), "srt": (10.0,)}))
    assert line == "srt: mIoU +0.0 over raw, +0.0 over the best zoom baseline (tiles, 1 pass)."


def test_a_lower_metric_is_better_where_it_says_so():
    values = {"raw": 0.5, "tiles": 0.4, "raw@2x": 0.3, "srt": 0.6}
    rows = {name: Scores(values={"RMSE": (value,)}) for name, value in values.items()}
    line, _ = findings(result_of(rows, (RMSE,)))
    assert "+0.100 over raw" in line and "(raw@2x, 1 pass)" in line and line.endswith("It hurts RMSE.")


def test_what_hurts_is_said_unless_it_is_within_the_spread():
    assert "hurts" in findings(result_of({"raw": (10.0, 10.2), "srt": (9.0, 9.2)}))[0]
    within = findings(result_of({"raw": (10.0, 11.0), "srt": (9.8, 10.6)}))[0]
    assert "within the spread" in within and "hurts" not in within


def test_without_a_baseline_the_table_says_so():
    assert "raw was not run" in findings(result_of({"srt": (1.0,)}))[0]
    assert "no zoom baseline" in findings(result_of({"raw": (1.0,), "srt": (1.0,)}))[-1]


def test_a_note_that_all_share_is_said_once():
    shared, own = "class 'sign' is absent", "few views"
    rows = {"raw": Scores(values={"mIoU": (1.0,)}, notes=(shared,))}
    rows["srt"] = Scores(values={"mIoU": (1.0,)}, notes=(shared, own))
    assert notes(result_of(rows)) == [shared, f"srt: {own}"]


def test_a_task_keeps_to_the_metrics_it_announced():
    with pytest.raises(EvaluationError, match="expected"):
        result_of({"raw": Scores(values={"other": (1.0,)})})


def test_an_evaluation_that_was_stopped_goes_on(tmp_path):
    stopped = Planted({"raw": (1.0,), "srt": KeyboardInterrupt()})
    methods = [named("raw"), named("srt")]
    with pytest.raises(KeyboardInterrupt):
        evaluate(stopped, methods, "here", backbone="vit", out=tmp_path)
    assert "n/a" not in (tmp_path / "planted.md").read_text()
    task, recorder = Planted({"raw": (9.0,), "srt": (2.0,)}), Recorder()
    result = evaluate(task, methods, "here", backbone="vit", out=tmp_path, reporter=recorder)
    assert task.asked == ["srt"] and recorder.notes == ["raw: mIoU 1.0   (scored before)", "srt: mIoU 2.0"]
    assert result.mean("raw", "mIoU") == 1.0
    assert json.loads((tmp_path / "planted.json").read_text())["rows"].keys() == {"raw", "srt"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"backbone": "other"}, "backbone: 'vit' in the file, 'other' in the request"),
        ({"data": "there"}, r"data: '.*here' in the file, '.*there' in the request"),
        (
            {"task": Planted({"raw": (2.0,)}, protocol={"size": (64, 64), "seeds": 4})},
            "seeds: 3 in the file, 4 in the request",
        ),
    ],
    ids=["backbone", "data", "protocol"],
)
def test_scores_of_anything_else_are_not_lost(tmp_path, change, said):
    same = {"task": Planted({"raw": (1.0,)}), "methods": [named("raw")], "backbone": "vit", "data": "here"}
    evaluate(**same, out=tmp_path)
    evaluate(**same | {"data": "./here"}, out=tmp_path)
    assert same["task"].asked == ["raw"]
    before = (tmp_path / "planted.json").read_text()
    with pytest.raises(EvaluationError, match=f"would be lost:\n  {said}\nGive another out="):
        evaluate(**same | change, out=tmp_path)
    assert (tmp_path / "planted.json").read_text() == before


def test_another_method_or_version_is_scored_again(tmp_path, monkeypatch):
    task = Planted({"raw": (1.0,)})
    for method in (named("raw"), named("raw", 1.0)):
        evaluate(task, [method], "here", backbone="vit", out=tmp_path)
    monkeypatch.setattr("dvt.evaluation.run.__version__", "0.0.0")
    evaluate(task, [named("raw", 1.0)], "here", backbone="vit", out=tmp_path)
    assert task.asked == ["raw"] * 3


def test_every_row_says_where_it_was_scored():
    rows = {"raw": {"cpu": "a", "torch": "1"}, "srt": {"cpu": "b", "torch": "1"}}
    result = TaskResult(task="planted", data="here", backbone="vit", protocol={}, metrics=(MIOU,))
    for name, machine in rows.items():
        row = MethodResult(
            scores=Scores(values={"mIoU": (1.0,)}), passes=1, seconds=1.0, fingerprint={}, environment=machine
        )
        result = result.with_row(name, row)
    assert result.environment == {"cpu": "a / b", "torch": "1"}
    assert TaskResult.from_json(result.to_json(), source="x").rows["srt"].environment == rows["srt"]


def test_rows_of_an_earlier_evaluation_stay_in_the_file(tmp_path):
    task = Planted({"raw": (1.0,), "srt": (2.0,)})
    evaluate(task, [named("raw"), named("srt")], "here", backbone="vit", out=tmp_path)
    (tmp_path / "planted.md").unlink()
    assert evaluate(task, [named("raw", 5.0)], "here", backbone="vit", out=tmp_path).rows.keys() == {"raw"}
    assert json.loads((tmp_path / "planted.json").read_text())["rows"].keys() == {"raw", "srt"}


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"kind": "dvt evaluation", "schema": 99}'])
def test_a_damaged_result_is_refused(tmp_path, text):
    (tmp_path / "planted.json").write_text(text)
    with pytest.raises(EvaluationError, match=r"planted\.json"):
        evaluate(Planted({"raw": (1.0,)}), [named("raw")], "here", backbone="vit", out=tmp_path)


def test_a_page_holds_all_of_it_and_fetches_nothing(tmp_path):
    result = result_of({"raw": (1.0, 2.0), "<srt>": (3.0, math.nan)}, (replace(MIOU, meaning="a < b & c"),))
    image = image_data(ExplorerImage(name="cat <1>", maps={"raw": torch.rand(2, 2, 3)}))
    write_report(tmp_path / "page.html", [result], explorer_frame([image], title="cat <1>"), title="t & u")
    text = (tmp_path / "page.html").read_text()
    assert "1.5 ± 0.7" in text and "&lt;srt&gt;" in text and "a &lt; b &amp; c" in text and "cat &lt;1&gt;" in text
    assert text.count("<iframe") == 1 and "<svg" in text and "<srt>" not in text
    assert not any(f'{attribute}="http' in text for attribute in ("src", "href")) and "<script" not in text
    assert "Summary" not in text, "of one task"


@pytest.fixture(scope="module")
def camvid(tmp_path_factory):
    return write_camvid(tmp_path_factory.mktemp("camvid"))


@pytest.fixture(scope="module")
def vit():
    return dvt.load_backbone("vit_micro")


def test_a_task_by_name_scores_models_by_name(camvid, vit, tmp_path):
    config = KnnSegmentationConfig(image_size=[48, 64], num_test=2)
    result = dvt.evaluate("knn_segmentation", {"raw": vit, "again": vit}, camvid, config, out=tmp_path)
    assert list(result.rows) == ["raw", "again"] and result.backbone == vit.full_name
    assert result.mean("raw", "mIoU") == result.mean("again", "mIoU") > 0
    assert result.protocol["test_images"] == 2 and (tmp_path / "knn_segmentation.md").is_file()
    methods = [OnePass("raw", vit), Tiles(OnePass("raw", vit), 2)]
    recorder = Recorder()
    both = dvt.evaluate("knn_segmentation", methods, camvid, config, out=tmp_path, reporter=recorder)
    assert both.rows["raw"].scores == result.rows["raw"].scores and both.rows["tiles"].passes == 4
    assert "scored before" in recorder.notes[0] and "scored before" not in recorder.notes[1]
    assert not (tmp_path / "features").exists(), "cheap features are not cached"


@pytest.mark.parametrize("cache", [True, False])
def test_expensive_features_are_cached(camvid, tmp_path, cache):
    config = KnnSegmentationConfig(image_size=[48, 64])
    methods = [MeanColours(), Tiles(MeanColours(), 3)]
    dvt.evaluate("knn_segmentation", methods, camvid, config, out=tmp_path, cache=cache)
    files = list((tmp_path / "features").rglob("*.safetensors"))
    assert len(files) == (2 * (4 + 3) if cache else 0), "of tiles@3x, in two layouts"


def test_every_task_has_options_of_its_own(tmp_path):
    for name, (kind, options) in TASKS.items():
        assert getattr(import_module(f"dvt.evaluation.tasks.{name}"), kind).name == name
        assert is_dataclass(getattr(import_module(options), f"{kind}Config")()), "defaults are valid"
        with pytest.raises(dvt.DvtError):
            dvt.evaluate(name, [named("raw")], tmp_path / "nowhere")


def test_an_evaluation_that_makes_no_sense_is_refused(camvid):
    for methods in ([], [named("raw"), named("raw")]):
        with pytest.raises(ConfigError, match="give at least one method, each name once"):
            dvt.evaluate("knn_segmentation", methods, camvid)
    with pytest.raises(ConfigError, match="there is no task 'knn': give knn_segmentation"):
        dvt.evaluate("knn", [named("raw")], camvid)
    with pytest.raises(ConfigError, match="leave config out"):
        dvt.evaluate(Planted({"raw": (1.0,)}), [named("raw")], "here", KnnSegmentationConfig())
