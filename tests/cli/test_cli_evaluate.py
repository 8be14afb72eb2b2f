"""`dvt evaluate`: a table on stdout, files where they were asked for, and every slip named before the work begins."""

import html
import json
import shutil

import numpy as np
import pytest
from evaluation.drawn_rectangles import write_rectangles
from PIL import Image

from dvt.backbone.load import load_backbone
from dvt.weights.folder import write_model_folder
from dvt.weights.info import ModelInfo


@pytest.fixture
def tiny(dvt, tiny_options):
    """As everywhere, but for the size of images, which is the task's."""
    options = [option for option in tiny_options if not option.startswith("backbone.image_size")]
    return lambda verb, *arguments: dvt(verb, *options, *arguments)


@pytest.fixture
def camvid(tmp_path):
    """Seven images of 64 x 64 px in CamVid's layout: the upper half is one class, the lower another, by colour too."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 1), ("test", 2)):
        for folder in (split, f"{split}annot"):
            (tmp_path / "camvid" / folder).mkdir(parents=True)
        for number in range(count):
            labels = np.zeros((64, 64), np.uint8)
            labels[rng.integers(16, 48) :] = 1
            image = np.stack([labels * 200, 255 - labels * 200, labels * 0 + 90], axis=-1).astype(np.uint8)
            Image.fromarray(image).save(tmp_path / "camvid" / split / f"{number}.jpg")
            Image.fromarray(labels).save(tmp_path / "camvid" / f"{split}annot" / f"{number}.png")
    return "data=camvid"


_KNN = ("task=knn_segmentation", "knn_segmentation.image_size=64", "knn_segmentation.layouts=[usual]")


def test_a_table_is_printed_and_nothing_is_kept(tiny, camvid, tmp_path):
    result = tiny("evaluate", *_KNN, camvid, "method=[raw,tiles,decomposed]")
    assert result.code == 0, result.err
    lines = result.out.splitlines()
    assert lines[0].startswith("knn_segmentation, vit_micro") and lines[1].split()[:3] == ["method", "passes", "mIoU"]
    assert [line.split()[0] for line in lines[2:5]] == ["raw", "tiles", "decomposed"]
    assert "decomposed: mIoU" in result.err and "over the best zoom baseline (tiles, 4 passes)" in result.err
    assert [path.name for path in tmp_path.iterdir()] == ["camvid"]


def test_a_table_wider_than_the_screen_is_turned(tiny, camvid, monkeypatch):
    monkeypatch.setattr("dvt.cli.evaluate._FILE_WIDTH", 36)
    lines = tiny("evaluate", *_KNN, camvid, "method=[raw,raw@2x]").out.splitlines()
    assert lines[1].split() == ["method", "raw", "raw@2x"] and lines[2].split() == ["passes", "1", "4"]


def test_what_was_scored_is_not_scored_again_nor_lost_to_other_settings(tiny, camvid, tmp_path):
    first = tiny("evaluate", *_KNN, camvid, "method=[raw]", "out=run")
    again = tiny("evaluate", *_KNN, camvid, "method=[raw,raw@2x]", "out=run", "report=html")
    assert first.code == again.code == 0, again.err
    assert "raw: mIoU" in again.err and again.err.count("(scored before)") == 1
    written = json.loads((tmp_path / "run/knn_segmentation.json").read_text())
    assert list(written["rows"]) == ["raw", "raw@2x"] and written["data"] == "camvid"
    assert (tmp_path / "run/knn_segmentation.md").exists()
    page = (tmp_path / "run/report.html").read_text()
    assert page.count("<iframe") == 1 and "raw@2x" in page and "annot" not in page, "labels are not shown"
    inside = html.unescape(page.split('srcdoc="')[1].split('"></iframe>')[0])
    shown = [json.loads(part.split("</script>")[0]) for part in inside.split('id="image-')[1:] for part in [part[3:]]]
    assert [[each["name"] for each in image["maps"]] for image in shown] == [["raw", "raw@2x"]] * 3
    other = tiny("evaluate", *_KNN, camvid, "method=[raw]", "out=run", "knn_segmentation.num_neighbours=3")
    assert other.code == 2 and "num_neighbours: 20 in the file, 3 in the request" in other.err
    assert json.loads((tmp_path / "run/knn_segmentation.json").read_text()) == written


@pytest.mark.other_types  # the check of a sequence reads its first items
def test_a_task_that_fails_does_not_stop_the_others(tiny, camvid, tmp_path):
    """The damaged image is in the images of one task and not in those of the other."""
    (tmp_path / "camvid/test/1.jpg").write_text("text")
    tasks = "task=[knn_segmentation,linear_segmentation]"
    few = [f"{name}.{option}" for name in ("knn_segmentation", "linear_segmentation") for option in ("image_size=64",)]
    options = [tasks, camvid, "method=[raw]", "out=run", *few, "linear_segmentation.num_test=1"]
    options += ["linear_segmentation.patches.num_steps=2", "linear_segmentation.layouts=[usual]"]
    result = tiny("evaluate", *options)
    assert result.code == 3 and "failed: knn_segmentation: camvid/test/1.jpg" in result.err, result.err
    assert result.out.startswith("linear_segmentation") and (tmp_path / "run/linear_segmentation.json").exists()
    (tmp_path / "camvid/test/0.jpg").write_text("text")
    result = tiny("evaluate", *options[:3], *few)
    assert result.code == 2 and "none of the 2 tasks could be scored" in result.err and not result.out


@pytest.fixture
def denoisers(made, tmp_path):
    """runs/a and runs/b: two folders with one denoiser."""
    made("denoiser")
    for name in ("a", "b"):
        shutil.copytree(tmp_path / "denoiser", tmp_path / "runs" / name)
    return "denoiser=[runs/a,runs/b]"


def test_qualities_and_denoisers_stand_side_by_side(tiny, camvid, denoisers, monkeypatch):
    monkeypatch.setattr("dvt.cli.evaluate._FILE_WIDTH", 300)
    methods = "method=[raw,decomposed,decomposed:tiny,decomposed:tiny@fine2,denoised:a,denoised:b,denoised:b@2x]"
    result = tiny("evaluate", *_KNN, camvid, methods, denoisers)
    assert result.code == 0, result.err
    rows = [line.split() for line in result.out.splitlines()[2:]]
    assert [row[:2] for row in rows] == [
        ["raw", "1"],
        ["decomposed", "5"],  # views.num_views=3 of the command line; the quality has 8
        ["decomposed:tiny", "10"],
        ["decomposed:tiny@fine2", "10"],
        ["denoised:a", "1"],
        ["denoised:b", "1"],
        ["denoised:b@2x", "4"],
    ]
    assert rows[4][2:] == rows[5][2:], "one denoiser in two folders"


def test_shares_of_the_position_stand_side_by_side(tiny, camvid, denoisers, monkeypatch):
    monkeypatch.setattr("dvt.cli.evaluate._FILE_WIDTH", 300)
    methods = ["raw", "denoised:a", "denoised:a+position0.5", "denoised:b+position1", "decomposed@fine2+position1"]
    methods += ["denoised:a@2x+position0.5", "raw+sincos1"]
    result = tiny("evaluate", *_KNN, camvid, f"method=[{','.join(methods)}]", denoisers)
    assert result.code == 0, result.err
    rows = [line.split() for line in result.out.splitlines()[2:]]
    assert [row[:2] for row in rows] == [list(each) for each in zip(methods, "1122581", strict=True)]
    assert rows[3][2:] == rows[0][2:], "all of the position: the raw features"


def test_position_is_short_for_a_suffix(tiny, camvid):
    result = tiny("evaluate", *_KNN, camvid, "method=[raw,decomposed]", "position=0.5", "position_kind=sincos")
    assert result.code == 0 and "decomposed+sincos0.5: mIoU" in result.err, result.err


def test_detection_with_the_position_put_back(tiny, tmp_path):
    write_rectangles(tmp_path / "voc", train=2, test=1)
    options = ["image_size=64", "num_steps=1", "seeds=1", "detector.channels=8", "detector.hidden=16"]
    options = ["task=detection", "data=voc", "out=run", *(f"detection.{option}" for option in options)]
    result = tiny("evaluate", *options, "method=[raw,decomposed]", "position=1")
    assert result.code == 0 and "decomposed+position1: mAP" in result.err, result.err
    written = json.loads((tmp_path / "run/detection.json").read_text())
    assert list(written["rows"]) == ["raw", "decomposed+position1"] and written["protocol"]["classes"] == 2
    result = tiny("evaluate", *options, "method=[raw,decomposed@fine3]")
    assert result.code == 2 and "features of 3 x 3 cells a patch do not fit the pyramid" in result.err, result.err


def test_the_report_shows_all_results_of_the_folder(tiny, camvid, tmp_path):
    linear = (
        "task=linear_segmentation", "linear_segmentation.image_size=64", "linear_segmentation.layouts=[usual,crops]",
        "linear_segmentation.patches.num_steps=20", "linear_segmentation.num_train=3",
    )  # fmt: skip
    assert tiny("evaluate", *_KNN, camvid, "method=[raw,tiles]", "out=run").code == 0
    assert not (tmp_path / "run/pareto.svg").exists()
    result = tiny("evaluate", *linear, camvid, "method=[raw,raw@2x]", "out=run", "report=html")
    assert result.code == 0 and "run/pareto.svg" in result.err, result.err
    heads, _, *rows = (tmp_path / "run/summary.md").read_text().splitlines()[:5]
    titles = ("linear segmentation, mIoU", "linear segmentation, mIoU pixels", "knn segmentation, mIoU")
    assert all(f" {title} (%) |" in heads for title in titles) and "crops" not in heads
    assert [row.split(" | ")[0].lstrip("| ") for row in rows] == ["raw", "raw@2x", "tiles"]
    page, plot = ((tmp_path / "run" / name).read_text() for name in ("report.html", "pareto.svg"))
    assert plot.strip() in page and page.count("<svg") == 3 and "<h2>Summary</h2>" in page
    assert "knn segmentation (camvid): mIoU" in plot and "crops" not in plot and "mIoU pixels crops" in page
    (tmp_path / "run/knn_segmentation.json").write_text("{}")
    result = tiny("evaluate", *linear, camvid, "method=[raw,tiles]", "out=run", "report=html")
    assert result.code == 2 and "knn_segmentation.json" in result.err and "tiles: mIoU" not in result.err


def test_weights_and_methods_belong_together(tiny, camvid, denoisers):
    for given, part in (
        (["method=[raw,denoised]", denoisers], "these weights are denoised:a, denoised:b; give each as a method"),
        (["method=[raw,denoised:a]", denoisers], "these weights are denoised:a, denoised:b"),
        (["method=[raw,denoised:c]", "denoiser=runs/a"], "these weights are denoised:a"),
        (["method=[raw,denoised:a]"], "denoised features need both"),
        (["method=[raw]", denoisers], "denoised features need both"),
        (["method=[raw,denoised:a]", "denoiser=[runs/a,other/a]"], "Rename folders"),
        (["method=[raw,decomposed:tiny]"], "views.num_views: 3 in the request, 8 in the quality tiny"),
    ):
        result = tiny("evaluate", *_KNN, camvid, *given)
        assert result.code == 2 and part in result.err, result.err


def test_vits_that_were_trained_at_other_sizes_are_scored_at_that_of_the_task(tiny, dvt, camvid, tiny_options):
    for size in (32, 64):
        vit = load_backbone("vit_micro", weights="random", image_size=size, device="cpu")
        info = ModelInfo(kind="distilled", spec=vit.spec, base_license=None)
        write_model_folder(f"at{size}", vit.vit.state_dict(), info)
    both = ("method=[raw,distilled:at32,distilled:at64@2x]", "distilled=[at32,at64]")
    result = tiny("evaluate", *_KNN, camvid, *both)
    assert result.code == 0 and "distilled:at64@2x" in result.out, result.err
    image = "image=camvid/test/0.jpg"
    shown = dvt("show", *(option for option in tiny_options if "image_size" not in option), image, *both)
    assert shown.code == 2 and "were trained on other image sizes of the ViT: show one" in shown.err


def test_features_that_are_dear_are_kept(tiny, camvid, tmp_path):
    assert tiny("evaluate", *_KNN, camvid, "method=[raw,raw@3x]", "out=run").code == 0
    kept = list((tmp_path / "run/features").rglob("*.safetensors"))
    assert len(kept) == 6, "those of raw@3x, one an image"


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["task=knn"], "give knn_segmentation"),
        (["task=[]"], "at least one task"),
        (["task=[saliency,saliency]"], "each once"),
        (["data=nowhere"], "nowhere"),
        (["method=[raw,denoised]"], "denoised features need both"),
        (["method=[rwa]"], "there is no method 'rwa'"),
        (["report=html"], "give out=FOLDER"),
        (["backbone.image_size=64"], "Give knn_segmentation.image_size="),
        (["srt.fine=2"], "give method=srt@fine2"),
        (["method=[raw,tiles]", "backbone.stride=8"], "leave out backbone.stride, or leave out tiles"),
        (["out=camvid/train/0.jpg"], "is a file"),
        (["knn_segmentation.image_size=65"], "65"),
        (["knn_segmentation.num_neighbors=3"], "did you mean knn_segmentation.num_neighbours"),
    ],
)
def test_slips_are_named(tiny, camvid, options, part):
    result = tiny("evaluate", *_KNN, camvid, "method=[raw]", *options)
    assert result.code == 2 and part in result.err and "raw: mIoU" not in result.err, result.err


def test_the_help_page_names_every_task(dvt):
    from dvt.evaluation.tasks import TASKS

    page = dvt("evaluate", "--help").out
    assert all(f"{task}.*" in page for task in TASKS)
