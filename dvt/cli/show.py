"""`dvt show`: draw the features of an image, of several, or of a video. `show_page` writes the explorer page."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from dvt.cli.console import DONE, MISSING, SOME_FAILED, say, say_failures
from dvt.cli.method_options import MethodsOptions, check_methods, load_methods, with_suffixes
from dvt.cli.outcome import Result
from dvt.cli.outputs import check_out, check_writable
from dvt.cli.patch_option import patch_of
from dvt.cli.show_page import show_page, wants_page
from dvt.errors import ConfigError, FileNameError, ImageError
from dvt.images import MAX_PIXELS
from dvt.paths import expand_home

if TYPE_CHECKING:
    from PIL import Image

    from dvt.backbone.backbone import Backbone
    from dvt.images import ImageFile
    from dvt.methods.method import Method
    from dvt.shapes import ImageTensor
    from dvt.viz import Tile

HEAD = """\
dvt show: draw the features of an image: PCA colours, norms, similarity to a patch, clusters.

usage: dvt show image=PATH [out=FILE.png|FILE.html] [method=[raw,decomposed]] [key=value ...]

  dvt show image=cat.jpg                                          raw, clean, artifact and residual of DINOv2-B
  dvt show image=cat.jpg method=[raw] backbone=dino_small         the raw features alone, in a moment
  dvt show image=cat.jpg method=[raw,srt,decomposed,denoised] denoiser=runs/denoiser     side by side
  dvt show image=cat.jpg fine=4 closed_form.nodes_per_patch=4     the clean features at 4 x 4 cells per patch as well
  dvt show image=cat.jpg patch=[4,7] out=panels/cat.png           similarity to the patch in row 4, column 7
  dvt show image=cat.jpg out=cat.html                             a page to explore in the browser
  dvt show image=photos/ out=panels/                              a panel for each image
  dvt show image=clip.mp4 method=[raw,denoised] denoiser=runs/denoiser      a video, in one basis of colours"""

GROUPS = ("backbone", "quality")
METRIC = None

_BASIS_FRAMES = 16
"""Frames that the basis of colours is fitted to, evenly spaced over the video."""


@dataclass(kw_only=True, slots=True)
class Options(MethodsOptions):
    """Options of `dvt show`."""

    image: str = MISSING
    """An image; a folder or glob of images; a video (.mp4, .mov, .mkv, .webm, .gif)."""
    out: str | None = None
    """The .png to write, or a .html that compares the methods in the browser, also of several images; for several
    images a folder, or a .mp4 or .gif; <image>.dvt.png (.mp4 for a video) in the working directory when left out."""
    patch: list[int] | None = None
    """Row and column of the patch that similarities are taken to; the centre when left out."""
    max_frames: int | None = None
    """Largest number of frames of a video, from the first; null for all."""
    every: int = 1
    """Use every n-th frame of a video."""
    fps: float | None = None
    """Frames per second of the video written; that of the video read, or 10, when left out."""
    max_pixels: int = MAX_PIXELS
    """Larger images are refused as decompression bombs."""

    def __post_init__(self) -> None:
        """Refuse invalid values."""
        MethodsOptions.__post_init__(self)
        if self.every < 1 or (self.max_frames is not None and self.max_frames < 1):
            raise ConfigError(f"every={self.every}, max_frames={self.max_frames}: give 1 or more.")
        if self.fps is not None and not 0 < self.fps <= 1000:
            raise ConfigError(f"fps={self.fps}: give more than 0 and at most 1000 frames per second.")


def work(options: Options, choices: dict[str, str]) -> Result:
    """Write the panels; returns the exit code. Errors in the options are found before the work begins."""
    from dvt.images.video import is_video

    options = with_suffixes(options)
    check_methods(options, choices["quality"])
    if wants_page(options.out):
        return show_page(options)
    if wants_video(options.out) or is_video(options.image):
        return show_video(options)
    if expand_home(options.image).is_file():
        return show_image(options)
    return show_folder(options)


def show_image(options: Options) -> Result:
    """Show one image as one panel."""
    from dvt.images import read_image
    from dvt.one_writer import lock_beside, one_writer
    from dvt.viz import save_png

    out = Path(options.out or f"{Path(options.image).stem}.dvt.png")
    image = read_image(options.image, max_pixels=options.max_pixels)
    check_out(out, Path(options.image))
    with one_writer(lock_beside(out), out):
        backbone, methods = load_methods(options, one_size=True)
        save_png(panel(image, Path(options.image).name, backbone, methods, options), out)
    print(out)
    return Result()


def panel(
    image: "ImageTensor", name: str, backbone: "Backbone", methods: "list[Method]", options: Options
) -> "Image.Image":
    """The labelled panel of one image."""
    from dvt.viz import draw_panel

    rows = panel_rows(image, backbone, methods, options)
    return draw_panel(rows, title=f"{name}   {backbone.full_name}, {backbone.grid}")


def panel_rows(
    image: "ImageTensor", backbone: "Backbone", methods: "list[Method]", options: Options
) -> "list[list[Tile]]":
    """The tiles of the methods; raw and decomposed alone give all four terms of the equation.

    ViTs that drop patches have a row more, of what they keep.
    """
    from dvt.decomposition.run import decompose_image
    from dvt.methods.kept import kept_of
    from dvt.methods.method import maps_of
    from dvt.methods.names import MethodName, parse_name
    from dvt.viz import decomposition_rows, kept_row, method_rows

    patch = patch_of(options.patch, backbone.grid)
    view = backbone.preprocess(image)
    fine = max(parse_name(name).fine for name in options.method)
    if set(options.method) == {"raw", MethodName("decomposed", fine=fine).unzoomed}:
        result = decompose_image(image, backbone, replace(options, fine=fine), options.seed)
        finer = None if fine == 1 else result.fine
        terms = result.raw, result.clean, result.artifact, result.residual
        return decomposition_rows(view, *terms, finer, patch=patch)
    rows = method_rows(view, maps_of(methods, image, backbone.grid.image_hw), patch=patch)
    kept = kept_of(methods, image, backbone.grid.image_hw)
    scores, blocks = ({name: getattr(each, part) for name, each in kept.items()} for part in ("scores", "blocks"))
    return [*rows, kept_row(view, scores, blocks)] if kept else rows


def wants_video(out: str | None) -> bool:
    """Whether what is to be written is a video."""
    from dvt.viz.save import VIDEO_OUTPUTS

    return out is not None and Path(out).suffix.lower() in VIDEO_OUTPUTS


def show_folder(options: Options) -> Result:
    """Show several images, a panel each: `<out>/<key>.dvt.png`. An image that fails does not stop the others."""
    from dvt.images import find_images
    from dvt.one_writer import LOCK, one_writer

    files = find_images(options.image)
    out = Path(options.out or "panels")
    is_folder = out.is_dir() or str(options.out).endswith("/")
    if out.is_file() or (out.suffix and not is_folder):
        raise ConfigError(f"out={out}: {options.image} names several images: give a folder, or a .html, .mp4 or .gif.")
    check_writable(out, files[0].path)
    with one_writer(out / LOCK, out):
        failed = _draw_each(files, out, options)
    if len(failed) == len(files):
        raise ImageError(f"none of the {len(files)} images of {options.image} could be shown.")
    print(out)
    return Result(code=SOME_FAILED if failed else DONE)


def _draw_each(files: "list[ImageFile]", out: Path, options: Options) -> dict[str, str]:
    """Draw a panel per image; returns the reasons of those that failed, by key."""
    from dvt.images import read_image
    from dvt.viz import save_png

    backbone, methods = load_methods(options, one_size=True)
    failed: dict[str, str] = {}
    for number, file in enumerate(files, 1):
        path = out / f"{file.key}.dvt.png"
        try:
            image = read_image(file.path, max_pixels=options.max_pixels)
            save_png(panel(image, file.key, backbone, methods, options), path)
        except (FileNameError, ImageError) as error:
            failed[file.key] = str(error)
            continue
        say(f"{number}/{len(files)} {path}")
    say_failures(failed)
    return failed


def show_video(options: Options) -> Result:
    """Show a video, or several images, as a video: the frame and the PCA colours of every method, in one basis."""
    from dvt.one_writer import lock_beside, one_writer
    from dvt.viz.save import require_writer

    frames, fps = _source(options)
    out = Path(options.out or f"{Path(options.image).stem}.dvt.mp4")
    require_writer(out)
    check_writable(out, Path(options.image))
    with one_writer(lock_beside(out), out):
        _draw_video(frames, out, fps, options)
    print(out)
    return Result()


def _draw_video(frames: "Iterable[ImageTensor]", out: Path, fps: float, options: Options) -> None:
    """Write the frames with the colours of every method; `frames` is iterated three times."""
    from dvt.methods.method import maps_of
    from dvt.viz import PCABasis, colour_row, draw_panel, write_video

    count = sum(1 for _ in frames)
    backbone, methods = load_methods(options, one_size=True)
    image_hw = backbone.grid.image_hw

    chosen = {number * count // _BASIS_FRAMES for number in range(_BASIS_FRAMES)}
    say(f"{count} frames -> {out}   {backbone.full_name}, {backbone.grid}, {', '.join(options.method)}")
    fitted = [maps_of(methods, frame, image_hw) for number, frame in enumerate(frames) if number in chosen]
    basis = PCABasis.fit([each for maps in fitted for each in maps.values()])

    def panels() -> "Iterator[Image.Image]":
        for number, frame in enumerate(frames, 1):
            yield draw_panel([colour_row(frame, maps_of(methods, frame, image_hw), basis)])
            if number % 10 == 0 or number == count:
                say(f"{number}/{count}")

    write_video(out, panels(), fps)


def _source(options: Options) -> "tuple[Iterable[ImageTensor], float]":
    """The frames, which can be iterated repeatedly, and frames per second."""
    from dvt.images import find_images
    from dvt.images.video import Video, is_video

    if is_video(options.image):
        video = Video.open(options.image, every=options.every, max_frames=options.max_frames)
        return video.buffered(), options.fps or video.fps
    paths = [file.path for file in find_images(options.image)][:: options.every][: options.max_frames]
    return _ImageFrames(paths, options.max_pixels), options.fps or 10.0


class _ImageFrames:
    """Image files as frames: all in the size of the first."""

    def __init__(self, paths: list[Path], max_pixels: int):
        self._paths, self._max_pixels = paths, max_pixels

    def __iter__(self) -> "Iterator[ImageTensor]":
        from dvt.images import read_image
        from dvt.images.resize import resize

        image_hw: tuple[int, int] | None = None
        for path in self._paths:
            image = read_image(path, max_pixels=self._max_pixels)
            image_hw = image_hw or (image.shape[1], image.shape[2])
            yield resize(image, image_hw).clamp(0, 1)
