"""`dvt show` of several images, and of videos."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from dvt.cli.console import DONE, say
from dvt.cli.method_apps import ShowApp as Options
from dvt.cli.show import check_writable, panel

if TYPE_CHECKING:
    from PIL import Image

    from dvt.shapes import FeatureMap, ImageTensor

_BASIS_FRAMES = 16
"""Frames that the basis of colours is fitted to, evenly spaced over the video."""


def wants_video(out: str | None) -> bool:
    """Whether what is to be written is a video."""
    from dvt.viz.video import VIDEO_OUTPUTS

    return out is not None and Path(out).suffix.lower() in VIDEO_OUTPUTS


def show_folder(options: Options) -> int:
    """Several images, a picture each: `<out>/<key>.dvt.png`."""
    from dvt.cli.methods import load_methods
    from dvt.errors import ConfigError
    from dvt.images import find_images, read_image
    from dvt.viz import save_png

    files = find_images(options.image)
    out = Path(options.out or "pictures")
    if out.suffix or out.is_file():
        raise ConfigError(f"out={out}: {options.image} stands for several images: give a folder, or a .mp4 or .gif.")
    check_writable(out, files[0].path)
    backbone, methods = load_methods(options)
    for number, file in enumerate(files, 1):
        image = read_image(file.path, max_pixels=options.max_pixels)
        path = out / f"{file.key}.dvt.png"
        save_png(panel(image, file.key, backbone, methods, options), path)
        say(f"{number}/{len(files)} {path}")
    print(out)
    return DONE


def show_video(options: Options) -> int:
    """A video, or several images, as a video: the picture and the PCA colours of every method, in one basis."""
    from dvt.cli.methods import load_methods
    from dvt.viz import PCABasis, colour_row, draw_panel, write_video
    from dvt.viz.video import require_writer

    frames, fps = _source(options)
    out = Path(options.out or f"{Path(options.image).stem}.dvt.mp4")
    require_writer(out)
    check_writable(out, Path(options.image))
    count = sum(1 for _ in frames)
    backbone, methods = load_methods(options)
    image_hw = backbone.grid.image_hw

    def maps(frame: "ImageTensor") -> "dict[str, FeatureMap]":
        return {method.name: method([frame], image_hw).patches[0].cpu() for method in methods}

    chosen = {number * count // _BASIS_FRAMES for number in range(_BASIS_FRAMES)}
    say(f"{count} frames -> {out}   {backbone.timm_name}, {backbone.grid}, {', '.join(options.method)}")
    fitted = [each for number, frame in enumerate(frames) if number in chosen for each in maps(frame).values()]
    basis = PCABasis.fit(fitted)

    def panels() -> "Iterator[Image.Image]":
        for number, frame in enumerate(frames, 1):
            yield draw_panel([colour_row(frame, maps(frame), basis)])
            if number % 10 == 0 or number == count:
                say(f"{number}/{count}")

    write_video(out, panels(), fps)
    print(out)
    return DONE


def _source(options: Options) -> "tuple[Iterable[ImageTensor], float]":
    """The pictures, which can be gone through again and again, and how many a second."""
    from dvt.images import find_images
    from dvt.images.video import Video, is_video

    if is_video(options.image):
        video = Video.open(options.image, every=options.every, max_frames=options.max_frames)
        return video, options.fps or video.fps
    paths = [file.path for file in find_images(options.image)][:: options.every][: options.max_frames]
    return _Pictures(paths, options.max_pixels), options.fps or 10.0


class _Pictures:
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
