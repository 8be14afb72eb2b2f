"""`dvt evaluate`: features of several methods side by side in a task, as a table."""

import math
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dvt.cli.console import DONE, MISSING, SOME_FAILED, say, say_failures
from dvt.cli.method_options import MethodsOptions, check_methods, load_methods, with_suffixes
from dvt.cli.outcome import Result
from dvt.cli.page_option import Report
from dvt.diagnosis.config import ArtifactScoresConfig
from dvt.errors import ConfigError, DvtError, EvaluationError
from dvt.evaluation.config.depth import LinearDepthConfig
from dvt.evaluation.config.detection import DetectionConfig
from dvt.evaluation.config.objects import ObjectDiscoveryConfig, SaliencyConfig
from dvt.evaluation.config.retrieval import RetrievalConfig
from dvt.evaluation.config.segmentation import KnnSegmentationConfig, LinearSegmentationConfig
from dvt.evaluation.config.video import VideoSegmentationConfig
from dvt.evaluation.tasks import TASKS, make_task

if TYPE_CHECKING:
    from dvt.backbone.backbone import Backbone
    from dvt.evaluation.result import TaskResult
    from dvt.evaluation.task import Task
    from dvt.images import ImageFile
    from dvt.methods.method import Method

HEAD = """\
dvt evaluate: score the features of several methods side by side in a task.

usage: dvt evaluate task=NAME data=FOLDER [method=[raw,tiles,decomposed]] [out=FOLDER] [key=value ...]

  dvt evaluate task=linear_segmentation data=camvid out=runs/camvid                 a linear probe, three seeds
  dvt evaluate task=knn_segmentation data=camvid method=[raw,raw@2x,tiles,srt]      no training: the quick check
  dvt evaluate task=linear_depth data=sevenscenes linear_depth.dataset=sevenscenes
  dvt evaluate task=video_segmentation data=DAVIS method=[raw,denoised] denoiser=runs/denoiser
  dvt evaluate task=[object_discovery,saliency] data=DAVIS out=runs/objects report=html
  dvt evaluate task=retrieval data=imagenette method=[raw,denoised] denoiser=voc_denoised

Compare every score with raw, and with the zoom baselines (raw@2x, tiles): what they gain is zoom, not cleaning.
Stopped? With out= the same command continues."""

GROUPS = ("backbone", "quality", "experiment")
OWN_PAGES = tuple(TASKS)
METRIC = "the main metric of the first task, for the last method"

_FILE_WIDTH = 200
"""Width of a table in columns where stdout is no terminal."""
_NUM_SHOWN = 3
"""Images on the page where none are given."""


@dataclass(kw_only=True, slots=True)
class Options(MethodsOptions):
    """Options of `dvt evaluate`."""

    task: Any = MISSING
    """One or several of linear_segmentation, knn_segmentation, linear_depth, detection, object_discovery, saliency,
    video_segmentation, retrieval, artifact_scores; options of a task have its name in front."""
    data: str = MISSING
    """Folder of the data; an error names the layout that a task expects."""
    out: str | None = None
    """Folder for tables (.md, .json), expensive features (more than 8 passes), and the report; default: the table is
    printed, nothing is kept."""
    report: Report = Report.none
    """html: all results in out as one page with tables, plots and the features of some images, report.html; score
    against passes as pareto.svg, the main scores as summary.md."""
    report_images: Any = None
    """Images that the report shows; a few of the data when left out."""
    method: list[str] = field(default_factory=lambda: ["raw", "tiles", "decomposed"])
    """Features side by side: raw, flip (mean with the mirror image), shift (mean of moved copies), srt, decomposed
    (decomposed:paper is that quality unchanged, decomposed@fine4 has 4 x 4 features a patch, decomposed+position0.5
    half of the removed position), denoised, distilled; zoom baselines: raw@2x (twice the image size), tiles (2 x 2
    parts of the image; also tiles@3x, srt-tiles)."""
    linear_segmentation: LinearSegmentationConfig = field(default_factory=LinearSegmentationConfig)
    """Linear probe for classes of patches or pixels."""
    knn_segmentation: KnnSegmentationConfig = field(default_factory=KnnSegmentationConfig)
    """Classes by nearest class means, without training."""
    linear_depth: LinearDepthConfig = field(default_factory=LinearDepthConfig)
    """Linear probe for depth."""
    detection: DetectionConfig = field(default_factory=DetectionConfig)
    """Boxes of objects by a trained detector."""
    object_discovery: ObjectDiscoveryConfig = field(default_factory=ObjectDiscoveryConfig)
    """Boxes around objects, without training."""
    saliency: SaliencyConfig = field(default_factory=SaliencyConfig)
    """Masks of objects, without training."""
    video_segmentation: VideoSegmentationConfig = field(default_factory=VideoSegmentationConfig)
    """Propagation of a mask through a video."""
    retrieval: RetrievalConfig = field(default_factory=RetrievalConfig)
    """Image retrieval, and classification by nearest neighbours."""
    artifact_scores: ArtifactScoresConfig = field(default_factory=ArtifactScoresConfig)
    """Share of the features that depends on the position of a patch alone."""


def work(options: Options, choices: dict[str, str]) -> Result:
    """Score the methods; returns the main metric of the first task. The exit code is 3 where some tasks failed."""
    from dvt.cli.reporter import TerminalReporter
    from dvt.evaluation.run import evaluate as score
    from dvt.files import DiskError
    from dvt.viz.explorer.data import require_room

    options = with_suffixes(options)
    check_methods(options, choices["quality"])
    out = checked_out(options)
    tasks = make_tasks(options)  # data that are missing are found before a model is loaded
    shown = files_to_show(options)
    backbone, methods = load_methods(options, one_size=False)
    if shown:
        require_room(len(shown), sum(method.grid_for(backbone.grid.image_hw).num_patches for method in methods))
    results, failed = [], dict[str, str]()
    for task in tasks:
        try:
            with TerminalReporter() as reporter:
                result = score(
                    task,
                    methods,
                    options.data,
                    backbone=backbone.full_name,
                    out=out,
                    device=backbone.device,
                    reporter=reporter,
                )
        except DiskError:
            raise
        except DvtError as error:  # such as an image that cannot be read; the other tasks may not need it
            if len(tasks) == 1:
                raise
            failed[task.name] = str(error)
            continue
        results.append(result)
        print_result(result)
    say_failures(failed)
    if not results:
        raise EvaluationError(f"none of the {len(tasks)} tasks could be scored.")
    if out is not None:
        say(f"written: {', '.join(str(out / f'{result.task}.md') for result in results)}")
        if options.report is Report.html:
            report(backbone, methods, shown, out)
    main = results[0].mean(methods[-1].name, results[0].metrics[0].name)
    return Result(math.nan if tasks[0].name in failed else main, code=SOME_FAILED if failed else DONE)


def checked_out(options: Options) -> Path | None:
    """The folder of the results.

    Raises:
        ConfigError: a report without a folder, or a folder that is a file.
        EvaluationError: a result in it that the report could not show.
    """
    from dvt.evaluation.summary import read_results

    if options.out is None:
        if options.report is not Report.none:
            raise ConfigError(f"report={options.report.value} is written into out=: give out=FOLDER.")
        return None
    out = Path(options.out)
    if out.exists() and not out.is_dir():
        raise ConfigError(f"out={out} is a file: give a folder.")
    if options.report is Report.html:
        read_results(out)  # the page shows them all: a damaged one is named before the work
    return out


def make_tasks(options: Options) -> "list[Task]":
    """The tasks, with their data found.

    Raises:
        ConfigError: a task that does not exist, or none.
        EvaluationError: data that are missing or do not fit together.
    """
    names = [options.task] if isinstance(options.task, str) else list(options.task or [])
    if not names or len(set(names)) < len(names):
        raise ConfigError(f"task=[{','.join(map(str, names))}]: give at least one task, each once: {', '.join(TASKS)}.")
    _refuse_without_effect(options, names)
    return [make_task(name, getattr(options, str(name), None), options.data) for name in names]


def _refuse_without_effect(options: Options, tasks: list[str]) -> None:
    """Refuse options that would be ignored, or give scores that cannot be compared.

    Raises:
        ConfigError: says what to give instead.
    """
    if options.backbone.image_size is not None:
        raise ConfigError(
            f"backbone.image_size={options.backbone.image_size}: each task has its own image size. Give"
            f" {tasks[0]}.image_size=..."
        )
    if options.srt.fine != 1:
        raise ConfigError(f"srt.fine={options.srt.fine}: give method=srt@fine{options.srt.fine} instead.")


def print_result(result: "TaskResult") -> None:
    """Print the table to stdout and its findings to stderr; methods are columns in a table wider than the screen."""
    from rich.console import Console
    from rich.table import Table

    from dvt.evaluation.table import findings, notes, table

    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else _FILE_WIDTH, highlight=False)
    heads, rows = table(result)
    lines = [heads, *rows]
    if sum(max(map(len, column)) + 2 for column in zip(*lines, strict=True)) > console.width:
        lines = [list(column) for column in zip(*lines, strict=True)]
    shown = Table(box=None, pad_edge=False)
    for number, head in enumerate(lines[0]):
        shown.add_column(head, justify="left" if number == 0 else "right", no_wrap=True)
    for row in lines[1:]:
        shown.add_row(*row)
    console.print(f"{result.task}, {result.backbone}", soft_wrap=True)
    console.print(shown)
    for line in (*findings(result), *notes(result)):
        say(line)


def files_to_show(options: Options) -> "list[ImageFile]":
    """The images whose features the report shows; none without a report.

    Raises:
        ImageError: `report_images` holds none.
    """
    from dvt.images import find_images
    from dvt.images.read import has_colours

    if options.report is not Report.html:
        return []
    if options.report_images is not None:
        return find_images(options.report_images)
    files = [file for file in find_images(options.data) if has_colours(file.path)]  # labels and depths have none
    return [files[number * len(files) // _NUM_SHOWN] for number in range(min(_NUM_SHOWN, len(files)))]


def report(backbone: "Backbone", methods: "list[Method]", shown: "list[ImageFile]", out: Path) -> None:
    """Write the page, the plot and the summary of all results in a folder, and print where they are."""
    from dvt.evaluation.report import write_report
    from dvt.evaluation.summary import read_results, summary_markdown, summary_svg
    from dvt.files import write_atomic
    from dvt.methods.cache import cached

    results = read_results(out)
    data = dict.fromkeys(Path(result.data).name for result in results)
    frame = features_frame(backbone, [cached(method, out / "features") for method in methods], shown)
    write_report(out / "report.html", results, frame, f"{backbone.full_name} on {', '.join(data)}")
    write_atomic(out / "summary.md", summary_markdown(results).encode())
    plot = summary_svg(results)
    if plot is not None:
        write_atomic(out / "pareto.svg", plot.encode())
    names = ["report.html", "summary.md", *(["pareto.svg"] if plot is not None else [])]
    say(f"written: {', '.join(str(out / name) for name in names)}")


def features_frame(backbone: "Backbone", methods: "list[Method]", shown: "list[ImageFile]") -> str | None:
    """The features of some images by all methods, as an explorer; None without images."""
    from dvt.images import read_image
    from dvt.methods.method import maps_of
    from dvt.viz.explorer import ExplorerImage, explorer_frame, image_data
    from dvt.viz.explorer.data import image_budget

    images = []
    for file in shown:
        image = read_image(file.path)
        maps = maps_of(methods, image, backbone.grid.image_hw)
        seen = ExplorerImage(name=file.key, maps=maps, photo=image, grid=backbone.grid)
        images.append(image_data(seen, image_budget(len(shown))))
    return explorer_frame(images, title="Features", about=str(backbone.grid)) if images else None
