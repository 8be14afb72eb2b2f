"""Several tasks together: which scores are shown, who is on the front, and what differs between tasks."""

import math
import random
from dataclasses import replace

import pytest

from dvt.errors import EvaluationError
from dvt.evaluation.config.layout import Layout
from dvt.evaluation.layouts import metrics_in
from dvt.evaluation.metrics import DEPTH_METRICS, MIOU, MIOU_PIXELS
from dvt.evaluation.report import write_report
from dvt.evaluation.result import MethodResult, TaskResult
from dvt.evaluation.summary import (
    main_metrics,
    on_front,
    read_results,
    settings_that_differ,
    summary_markdown,
    summary_svg,
    summary_table,
)
from dvt.evaluation.task import Scores


def result_of(task, rows, metrics=(MIOU,), backbone="vit", layouts=()):
    """A result: rows are name -> passes, the values of the first metric, and settings."""
    metrics = metrics_in(metrics, layouts) if layouts else metrics
    result = TaskResult(task=task, backbone=backbone, data="a/camvid", protocol={}, metrics=tuple(metrics))
    for name, (passes, values, settings) in rows.items():
        scores = Scores(values={metric.name: values for metric in metrics})
        row = MethodResult(scores=scores, passes=passes, seconds=1.0, fingerprint=settings)
        result = result.with_row(name, row)
    return result


SEGMENTATION = result_of("linear_segmentation", {"raw": (1, (38.0, 39.0), {}), "tiles": (4, (46.0, 46.0), {})})
VIDEO = result_of("video_segmentation", {"raw": (1, (64.0,), {}), "srt": (9, (math.nan,), {})})


def test_the_main_metric_is_shown_at_patches_and_pixels_in_the_first_layout():
    result = result_of("linear_segmentation", {}, (MIOU, MIOU_PIXELS), layouts=list(Layout))
    assert [metric.name for metric in main_metrics(result)] == ["mIoU", "mIoU pixels"]
    assert len(main_metrics(result, every_layout=True)) == 6
    crops = result_of("linear_segmentation", {}, (MIOU, MIOU_PIXELS), layouts=[Layout.crops])
    assert [metric.name for metric in main_metrics(crops)] == ["mIoU crops", "mIoU pixels crops"]
    depth = result_of("linear_depth", {}, DEPTH_METRICS)
    assert [metric.name for metric in main_metrics(depth)] == ["RMSE"], "RMSElog is another metric"


@pytest.mark.parametrize("higher", [True, False])
def test_the_front_is_what_nothing_beats(higher):
    rng = random.Random(0)
    points = [(rng.choice([1, 1, 4, 9, 65]), round(rng.uniform(0, 5), 1)) for _ in range(40)]
    front = on_front(points, higher_is_better=higher)
    best = max if higher else min
    for (cost, score), is_on_front in zip(points, front, strict=True):
        as_cheap = best(each for spent, each in points if spent <= cost)
        cheaper = [each for spent, each in points if spent < cost]
        assert is_on_front == (score == as_cheap and not (cheaper and best(cheaper) == as_cheap))


def test_equal_points_are_on_the_front_together():
    assert on_front([(1, 2.0), (1, 2.0), (4, 2.0)], higher_is_better=True) == [True, True, False]


def test_a_table_has_every_method_and_says_what_was_not_run():
    heads, rows = summary_table([SEGMENTATION, VIDEO])
    assert heads == ["method", "passes", "linear segmentation, mIoU (%)", "video segmentation, mIoU (%)"]
    assert rows == [
        ["raw", "1", "38.5 ± 0.7", "64.0"],
        ["tiles", "4", "46.0 ± 0.0", "-"],
        ["srt", "9", "-", "n/a"],
    ]


def test_several_vits_are_named():
    heads, _ = summary_table([SEGMENTATION, replace(VIDEO, backbone="other")])
    assert heads[2:] == ["linear segmentation, vit, mIoU (%)", "video segmentation, other, mIoU (%)"]


def test_settings_that_differ_between_tasks_are_named_and_both_passes_shown():
    one = result_of("linear_segmentation", {"decomposed": (18, (1.0,), {"views": {"num_views": 16}, "layer": 11})})
    two = result_of("linear_depth", {"decomposed": (66, (1.0,), {"views": {"num_views": 64}, "layer": 11})})
    text = summary_markdown([one, two])
    assert "| decomposed | 18 / 66 |" in text
    line = "decomposed had several settings: views.num_views: 16 in the linear_segmentation, 64 in the linear_depth."
    assert settings_that_differ([one, two]) == [line] and f"- {line}" in text
    assert settings_that_differ([one, replace(two, backbone="other")]) == [] == settings_that_differ([one, one])


def test_a_plot_leaves_out_what_has_no_value():
    svg = summary_svg([SEGMENTATION, VIDEO])
    assert svg.count('class="title"') == 2 and ">srt<" not in svg and ">tiles<" in svg
    assert summary_svg([result_of("linear_depth", {"raw": (1, (math.nan,), {})})]) is None


def test_a_page_of_several_tasks_begins_with_a_summary(tmp_path):
    write_report(tmp_path / "page.html", [SEGMENTATION, VIDEO])
    text = (tmp_path / "page.html").read_text()
    assert text.index("<h2>Summary</h2>") < text.index("<h2>linear segmentation")
    assert summary_svg([SEGMENTATION, VIDEO]) in text


def test_results_of_a_folder_are_read_in_the_order_of_the_tasks(tmp_path):
    for result in (VIDEO, SEGMENTATION):
        (tmp_path / f"{result.task}.json").write_text(result.to_json())
    (tmp_path / "other.json").write_text("[]")
    assert [result.task for result in read_results(tmp_path)] == ["linear_segmentation", "video_segmentation"]
    (tmp_path / "saliency.json").write_text("[]")
    with pytest.raises(EvaluationError, match=r"saliency\.json"):
        read_results(tmp_path)
    assert read_results(tmp_path / "nowhere") == []
