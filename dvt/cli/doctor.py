"""`dvt doctor`: artifacts of a ViT, their kind and place, and advice."""

import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dvt.backbone.config import BackboneConfig
from dvt.backbone.names import TIMM
from dvt.cli.console import DONE, MISSING, SOME_FAILED, USAGE, complain, say, say_failures
from dvt.cli.outcome import Result
from dvt.cli.page_option import Report
from dvt.diagnosis.config import DoctorConfig
from dvt.errors import ConfigError
from dvt.images import MAX_PIXELS

if TYPE_CHECKING:
    from dvt.images.sources import ImageFile

HEAD = """\
dvt doctor: does a ViT have artifacts, of which kind (static pattern, high-norm outliers, low-frequency ramp), at which
blocks, and what to do. Prints artifact scores of every block and a diagnosis; writes maps as an image. Needs no labels.

usage: dvt doctor images=FOLDER [out=doctor.png] [key=value ...]
       dvt doctor env                                                versions and devices, ready to paste

  dvt doctor images=photos/                                          DINOv2-B
  dvt doctor images=photos/ backbone=augreg_tiny                     a small ViT: a minute on two CPU cores
  dvt doctor images=photos/ backbone.timm=vit_small_patch16_224.dino num_images=40 layers=[8,9,10,11]
  dvt doctor images=photos/ backbone=dino_small report=html          a page with an explorer of the layers as well
  dvt doctor images=photos/ backbone=dino_small json=true > dino.json"""

GROUPS = ("backbone",)
METRIC = None

_WAY_IMAGES = 64
"""Most images on which calibrations are measured."""
_WAY_WINDOWS = 4
"""Windows of each of them."""


@dataclass(kw_only=True, slots=True)
class Options(DoctorConfig):
    """Options of `dvt doctor`."""

    images: Any = MISSING
    """An image folder, a glob such as 'photos/**/*.jpg', or a .txt list of paths; 16 images or more, better 100."""
    out: str = "doctor.png"
    """Image to write: scores over depth, and maps of every layer."""
    report: Report = Report.none
    """html: everything as one page beside the image, doctor.html, with the features of some images in an explorer."""
    json: bool = False
    """Print everything as JSON, with the maps, instead of the table and the diagnosis."""
    ways: bool = True
    """Also measure what dvt calibrate would do, on some of the images; with blocks, three times as long. Registers are
    measured where there are strong outliers."""
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    """The ViT; blocks up to backbone.layer are scored."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""
    max_pixels: int = MAX_PIXELS
    """Larger images are refused as decompression bombs."""


def run(arguments: list[str]) -> int:
    """Run the verb and return its exit code."""
    if arguments[:1] == ["env"]:
        if len(arguments) > 1:
            return complain(f"dvt doctor env takes nothing more; {' '.join(arguments[1:])} was given.", USAGE)
        return print_environment()
    from dvt.cli.job import run_verb

    return run_verb("doctor", arguments)


def print_environment() -> int:
    """Versions and devices, a line each."""
    from dvt.cli.environment import machine_report

    report = machine_report()
    width = max(map(len, report))
    for name, value in report.items():
        print(f"{name:<{width}}  {value}")
    return DONE


def work(options: Options, choices: dict[str, str]) -> Result:
    """Diagnose a ViT, write the image and the page, print table, diagnosis and advice."""
    from dvt.backbone.load import load_from_config
    from dvt.calibration.config import CalibrationConfig
    from dvt.calibration.ways import measure_ways
    from dvt.cli.advice import advice, has_strong_outliers, ways_advice
    from dvt.cli.reporter import TerminalReporter
    from dvt.diagnosis.diagnose import diagnose_layers
    from dvt.diagnosis.figure import draw_diagnosis
    from dvt.diagnosis.layers import BackboneLayers
    from dvt.diagnosis.page import write_diagnosis_page
    from dvt.diagnosis.windows import choose_images
    from dvt.files import plain, to_json
    from dvt.images import find_images
    from dvt.one_writer import lock_beside, one_writer
    from dvt.runtime import environment, pick_device
    from dvt.viz import save_png

    images = find_images(options.images)
    chosen = choose_images(images, options.num_images, options.seed, options.max_pixels)
    check_output(Path(options.out), images)
    page = Path(options.out).with_suffix(".html") if options.report is Report.html else None
    start = time.monotonic()
    with one_writer(lock_beside(Path(options.out)), options.out):
        backbone = load_from_config(options.backbone, pick_device(options.device))
        say(f"{backbone.full_name}, {backbone.grid}: {len(chosen.images)} of {len(images)} images")
        with TerminalReporter() as reporter:
            layers = BackboneLayers(backbone, options.layers)
            diagnosis = diagnose_layers(layers, chosen, options, max_pixels=options.max_pixels, reporter=reporter)
            config = CalibrationConfig(
                num_images=min(options.num_images, _WAY_IMAGES),
                windows=_WAY_WINDOWS,
                batch_size=options.batch_size,
                seed=options.seed,
            )
            limit, outliers = options.max_pixels, has_strong_outliers(diagnosis.findings)
            ways = (
                measure_ways(backbone, chosen.images, config, registers=outliers, max_pixels=limit, reporter=reporter)
                if options.ways
                else []
            )
        given = shlex.quote(options.images) if isinstance(options.images, str) else "IMAGES"
        lines = advice(diagnosis, backbone=backbone_arguments(options.backbone), images=given)
        lines += ways_advice(ways, backbone=backbone_arguments(options.backbone), images=given)
        figure = draw_diagnosis(diagnosis)
        save_png(figure, options.out)
        if page is not None:
            write_diagnosis_page(page, diagnosis, lines, figure, layers, chosen.images, max_pixels=options.max_pixels)
    if options.json:
        body = diagnosis.to_json() | {"environment": environment(backbone.device)}
        body["diagnosis"] |= {"advice": lines, "ways": plain(ways)}
        print(to_json(body, indent=None), end="")
    else:
        print(diagnosis, "\n".join(lines), sep="\n\n")
    say_failures(diagnosis.failed)
    written = " and ".join(str(path) for path in (options.out, page) if path is not None)
    say(f"{written} written; {time.monotonic() - start:.0f} s")
    return Result(code=SOME_FAILED if diagnosis.failed else DONE)


def check_output(out: Path, images: "Sequence[ImageFile]") -> None:
    """Refuse an output file that cannot be written, or is one of the images.

    Raises:
        ConfigError: says why.
    """
    from dvt.cli.outputs import check_out

    place = out.resolve()
    if any(image.path.resolve() == place for image in images):
        raise ConfigError(f"out={out} is one of the images: give another name, it would be overwritten.")
    check_out(out, images[0].path)


def backbone_arguments(wanted: BackboneConfig) -> str:
    """The options that choose this ViT, as they are typed."""
    size = wanted.image_size
    named: dict[str, Any] = {"backbone" if wanted.timm is None else "backbone.timm": wanted.timm or wanted.name}
    if wanted.source != TIMM:
        named = {"backbone.source": wanted.source, "backbone.name": wanted.name}
    given = {
        **named,
        "backbone.weights": wanted.weights,
        "backbone.image_size": f"[{','.join(map(str, size))}]" if isinstance(size, list) else size,
        "backbone.stride": wanted.stride,
        "backbone.layer": None if wanted.layer == -1 else wanted.layer,
        "backbone.norm": None if wanted.norm else "false",
    }
    return " ".join(f"{name}={shlex.quote(str(value))}" for name, value in given.items() if value is not None)
