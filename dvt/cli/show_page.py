"""`dvt show out=FILE.html`: the features of images as an explorer page."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dvt.cli.console import DONE, SOME_FAILED, say, say_failures
from dvt.cli.method_options import load_methods
from dvt.cli.outcome import Result
from dvt.cli.outputs import check_writable
from dvt.cli.patch_option import patch_of
from dvt.errors import ConfigError, FileNameError, ImageError
from dvt.paths import expand_home

if TYPE_CHECKING:
    from dvt.backbone.backbone import Backbone
    from dvt.cli.show import Options
    from dvt.images import ImageFile
    from dvt.methods.method import Method


def wants_page(out: str | None) -> bool:
    """Whether what is to be written is a page."""
    return out is not None and Path(out).suffix.lower() == ".html"


def show_page(options: "Options") -> Result:
    """Show images as one HTML file. An image that fails does not stop the others.

    Raises:
        ConfigError: a video, or a file that cannot be written.
        ImageError: none of the images can be read.
        DvtError: more images than a page holds, or features that are not finite.
    """
    from dvt.images import read_image
    from dvt.images.video import is_video
    from dvt.one_writer import lock_beside, one_writer

    out = Path(str(options.out))
    if is_video(options.image):
        raise ConfigError(
            f"out={out} is a page of images, and image={options.image} is a video: give out= a name that ends in .mp4"
            " or .gif, or image= a folder of its frames."
        )
    if out.is_dir():
        raise ConfigError(f"out={out} is a folder: give the name of a file.")
    files = _files(options.image)
    check_writable(out, files[0].path)
    if len(files) == 1:
        read_image(files[0].path, max_pixels=options.max_pixels)  # a broken image is refused before the ViT is loaded
    with one_writer(lock_beside(out), out):
        failed = _write(files, out, options)
    print(out)
    return Result(code=SOME_FAILED if failed else DONE)


def _files(image: str) -> "list[ImageFile]":
    from dvt.images import ImageFile, find_images

    path = expand_home(image)
    return [ImageFile(key=path.name, path=path)] if path.is_file() else find_images(image)


def _write(files: "list[ImageFile]", out: Path, options: "Options") -> dict[str, str]:
    """Write the page; returns the reasons of images that failed, by key."""
    from dvt.images import read_image
    from dvt.methods.explored import explorer_image
    from dvt.viz.explorer import image_data, write_explorer
    from dvt.viz.explorer.data import image_budget, require_room

    backbone, methods = load_methods(options, one_size=True)
    row, column = patch_of(options.patch, backbone.grid) or (backbone.grid.hw[0] // 2, backbone.grid.hw[1] // 2)
    require_room(len(files), _num_patches(backbone, methods))
    failed: dict[str, str] = {}
    images: list[dict[str, Any]] = []
    for number, file in enumerate(files, 1):
        try:
            image = read_image(file.path, max_pixels=options.max_pixels)
        except (FileNameError, ImageError) as error:
            failed[file.key] = str(error)
            continue
        images.append(image_data(explorer_image(image, file.key, backbone.grid, methods), image_budget(len(files))))
        if len(files) > 1:
            say(f"{number}/{len(files)} {file.key}")
    say_failures(failed)
    if not images:
        raise ImageError(f"none of the {len(files)} images of {options.image} could be shown.")
    write_explorer(
        out,
        images,
        title=files[0].key if len(files) == 1 else f"{len(images)} images",
        about=f"{backbone.full_name}, {backbone.grid}",
        patch_xy=((column + 0.5) / backbone.grid.hw[1], (row + 0.5) / backbone.grid.hw[0]),
    )
    return failed


def _num_patches(backbone: "Backbone", methods: "list[Method]") -> int:
    """Features per image that the page stores: those of the methods, and the two terms of stage 1."""
    from dvt.methods.decomposed import Decomposed

    terms = 2 if any(isinstance(method, Decomposed) for method in methods) else 0
    grids = [method.grid_for(backbone.grid.image_hw) for method in methods]
    return sum(grid.num_patches for grid in grids) + terms * backbone.grid.num_patches
