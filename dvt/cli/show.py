"""`dvt show`: pictures of the features of an image, of several, or of a video."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from dvt.cli.console import DONE
from dvt.cli.help import verb_page
from dvt.cli.method_apps import ShowApp as Options

if TYPE_CHECKING:
    from PIL import Image

    from dvt.backbone.backbone import Backbone
    from dvt.grid import PatchGrid
    from dvt.methods.method import Method
    from dvt.shapes import ImageTensor
    from dvt.viz import Tile

USAGE = """\
dvt show: a labelled picture of the features of an image: PCA colours, norms, similarity to a patch, clusters.

usage: dvt show image=PATH [out=FILE.png] [method=[raw,decomposed]] [key=value ...]

  dvt show image=cat.jpg                                          raw, clean, artifact and residual of DINOv2-B
  dvt show image=cat.jpg method=[raw] backbone=dino_small         the raw features alone, in a moment
  dvt show image=cat.jpg method=[raw,srt,decomposed,denoised] denoiser=runs/denoiser     side by side
  dvt show image=cat.jpg patch=[4,7] out=pictures/cat.png         similarity to the patch in row 4, column 7
  dvt show image=photos/ out=pictures/                            a picture for each
  dvt show image=clip.mp4 method=[raw,denoised] denoiser=runs/denoiser      a video, in one basis of colours"""


def help_page() -> str:
    """What `dvt show --help` prints."""
    return verb_page(USAGE, Options)


def run(arguments: list[str]) -> int:
    """Run the verb and return its exit code."""
    from dvt.cli.compose import run_verb

    return run_verb("show", Options, arguments, show)


def show(options: Options, choices: dict[str, str]) -> int:
    """Write the picture; returns the exit code. What can be wrong is looked at before the work begins."""
    from dvt.cli.methods import check_methods
    from dvt.cli.show_many import show_folder, show_video, wants_video
    from dvt.images.video import is_video

    check_methods(options)
    if wants_video(options.out) or is_video(options.image):
        return show_video(options)
    if Path(options.image).expanduser().is_file():
        return show_image(options)
    return show_folder(options)


def show_image(options: Options) -> int:
    """One image, one picture."""
    from dvt.cli.methods import load_methods
    from dvt.images import read_image
    from dvt.viz import save_png

    out = Path(options.out or f"{Path(options.image).stem}.dvt.png")
    image = read_image(options.image, max_pixels=options.max_pixels)
    check_out(out, Path(options.image))
    backbone, methods = load_methods(options)
    save_png(panel(image, Path(options.image).name, backbone, methods, options), out)
    print(out)
    return DONE


def panel(
    image: "ImageTensor", name: str, backbone: "Backbone", methods: "list[Method]", options: Options
) -> "Image.Image":
    """The labelled picture of one image."""
    from dvt.viz import draw_panel

    rows = panel_rows(image, backbone, methods, options)
    return draw_panel(rows, title=f"{name}   {backbone.timm_name}, {backbone.grid}")


def panel_rows(
    image: "ImageTensor", backbone: "Backbone", methods: "list[Method]", options: Options
) -> "list[list[Tile]]":
    """The tiles of the methods that were asked for; raw and decomposed alone: all four terms of the equation."""
    from dvt.decomposition.run import decompose_image
    from dvt.viz import decomposition_rows, method_rows

    patch = patch_of(options.patch, backbone.grid)
    picture = backbone.preprocess(image).clamp(0, 1)  # the interpolation oversteps
    if set(options.method) == {"raw", "decomposed"}:
        result = decompose_image(image, backbone, options, options.seed)
        return decomposition_rows(picture, result.raw, result.clean, result.artifact, result.residual, patch=patch)
    maps = {method.name: method([image], backbone.grid.image_hw).patches[0].cpu() for method in methods}
    return method_rows(picture, maps, patch=patch)


def check_out(out: Path, image: Path) -> None:
    """Refuse a picture that could not be written.

    Raises:
        ConfigError: a wrong ending, a folder that does not take files, or the image itself.
    """
    from dvt.errors import ConfigError

    if out.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        ending = out.suffix or "no suffix"
        raise ConfigError(f"out={out} ends in {ending}: give a name that ends in .png or .jpg (a video: .mp4, .gif).")
    if out.is_dir():
        raise ConfigError(f"out={out} is a folder: give the name of a picture.")
    check_writable(out, image)


def check_writable(out: Path, image: Path) -> None:
    """Refuse what would overwrite the image, or a folder that does not take files.

    Raises:
        ConfigError: says which.
    """
    from dvt.errors import ConfigError

    image = image.expanduser()
    if out.exists() and image.exists() and out.samefile(image):
        raise ConfigError(f"out={out} is the image itself: give another name, it would be overwritten.")
    folder = next(parent for parent in (out / "x").absolute().parents if parent.is_dir())
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
        if not out.parent.is_dir() and out.parent.exists():
            raise NotADirectoryError(20, "Not a directory")
    except OSError as error:
        raise ConfigError(f"out={out} cannot be written ({error.strerror}: {folder}): give another place.") from error


def patch_of(patch: list[int] | None, grid: "PatchGrid") -> tuple[int, int] | None:
    """Row and column of the patch, checked against the grid.

    Raises:
        ConfigError: not two numbers, or outside the grid.
    """
    from dvt.errors import ConfigError

    if patch is None:
        return None
    rows, columns = grid.hw
    if len(patch) != 2 or not (0 <= patch[0] < rows and 0 <= patch[1] < columns):
        raise ConfigError(
            f"patch=[{','.join(map(str, patch))}]: give a row and a column of {grid},"
            f" patch=[0,0] to patch=[{rows - 1},{columns - 1}]."
        )
    return patch[0], patch[1]
