"""`dvt show`: pictures of one image's features."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dvt.cli.apps import ShowApp as Options
from dvt.cli.help import verb_page

if TYPE_CHECKING:
    from dvt.backbone.backbone import Backbone
    from dvt.backbone.features import FeatureExtractor
    from dvt.grid import PatchGrid
    from dvt.shapes import ImageTensor
    from dvt.viz import Tile

METHODS = ("raw", "decomposed", "denoised")

USAGE = """\
dvt show: a labelled picture of the features of an image: PCA colours, norms, similarity to a patch, clusters.

usage: dvt show image=FILE [out=FILE.png] [method=[raw,decomposed]] [key=value ...]

  dvt show image=cat.jpg                                          raw, clean, artifact and residual of DINOv2-B
  dvt show image=cat.jpg method=[raw] backbone=dino_small         the raw features alone, in a moment
  dvt show image=cat.jpg method=[raw,decomposed,denoised] denoiser=runs/denoiser     both stages beside the raw ones
  dvt show image=cat.jpg patch=[4,7] out=pictures/cat.png         similarity to the patch in row 4, column 7"""


def help_page() -> str:
    """What `dvt show --help` prints."""
    return verb_page(USAGE, Options)


def run(arguments: list[str]) -> int:
    """Run the verb and return its exit code."""
    from dvt.cli.compose import run_verb

    return run_verb("show", Options, arguments, show)


def show(options: Options, choices: dict[str, str]) -> int:
    """Write the picture; returns the exit code. What can be wrong is looked at before the work begins."""
    from dvt.images import read_image
    from dvt.viz import draw_panel, save_png

    check_methods(options.method, options.denoiser)
    out = Path(options.out or f"{Path(options.image).stem}.dvt.png")
    image = read_image(options.image, max_pixels=options.max_pixels)
    check_out(out, Path(options.image))
    backbone, cleaned = load(options)
    patch = patch_of(options.patch, backbone.grid)
    rows = panel_rows(image, backbone, cleaned, options, patch)
    save_png(draw_panel(rows, title=f"{Path(options.image).name}   {backbone.timm_name}, {backbone.grid}"), out)
    print(out)
    return 0


def load(options: Options) -> "tuple[Backbone, FeatureExtractor | None]":
    """The raw ViT, and the denoised or distilled one where it is to be shown."""
    from dvt.backbone.load import load_from_config
    from dvt.cli.models import load_cleaned
    from dvt.denoiser.denoised import DenoisedBackbone
    from dvt.runtime import pick_device

    wanted, device = options.backbone, pick_device(options.device)
    if "denoised" not in options.method:
        return load_from_config(wanted, device), None
    assert options.denoiser is not None
    cleaned = load_cleaned(wanted, options.denoiser, str(device))
    if isinstance(cleaned, DenoisedBackbone):
        return cleaned.backbone, cleaned
    same = replace(wanted, image_size=list(cleaned.grid.image_hw), stride=cleaned.grid.stride)
    return load_from_config(replace(same, layer=cleaned.layer, norm=cleaned.norm), device), cleaned


def panel_rows(
    image: "ImageTensor",
    backbone: "Backbone",
    cleaned: "FeatureExtractor | None",
    options: Options,
    patch: tuple[int, int] | None,
) -> "list[list[Tile]]":
    """The tiles of the methods that were asked for."""
    from dvt.decomposition.run import decompose_image
    from dvt.viz import decomposition_rows, method_rows

    full_view = backbone.preprocess(image)
    picture = full_view.clamp(0, 1)  # the interpolation oversteps
    if set(options.method) == {"raw", "decomposed"}:
        result = decompose_image(image, backbone, options, options.seed)
        return decomposition_rows(picture, result.raw, result.clean, result.artifact, result.residual, patch=patch)
    maps = {}
    for method in options.method:
        match method:
            case "raw":
                maps["raw"] = backbone(full_view[None]).patches[0].float().cpu()
            case "decomposed":
                maps["clean"] = decompose_image(image, backbone, options, options.seed).clean
            case "denoised":
                assert cleaned is not None
                maps["denoised"] = cleaned(full_view[None]).patches[0].float().cpu()
    return method_rows(picture, maps, patch=patch)


def check_methods(methods: list[str], denoiser: str | None) -> None:
    """Refuse methods that do not exist, and `denoised` without a denoiser.

    Raises:
        ConfigError: says which there are.
    """
    from dvt.errors import ConfigError

    if not methods or set(methods) - set(METHODS):
        raise ConfigError(f"method=[{','.join(methods)}]: give some of {', '.join(METHODS)}.")
    if ("denoised" in methods) != (denoiser is not None):
        raise ConfigError(
            f"method=[{','.join(methods)}], denoiser={denoiser}: to show denoised features give both, for example"
            " method=[raw,denoised] denoiser=runs/denoiser."
        )


def check_out(out: Path, image: Path) -> None:
    """Refuse a picture that could not be written.

    Raises:
        ConfigError: a wrong ending, a folder that does not take files, or the image itself.
    """
    from dvt.errors import ConfigError

    if out.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise ConfigError(f"out={out} ends in {out.suffix or 'no suffix'}: give a name that ends in .png or .jpg.")
    if out.is_dir():
        raise ConfigError(f"out={out} is a folder: give the name of a picture.")
    if out.exists() and out.samefile(image):
        raise ConfigError(f"out={out} is the image itself: give another name, it would be overwritten.")
    folder = next(parent for parent in out.absolute().parents if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
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
