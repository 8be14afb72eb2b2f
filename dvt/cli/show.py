"""`dvt show`: pictures of one image's features."""

from pathlib import Path

from dvt.cli.apps import ShowApp as Options
from dvt.cli.help import FLAGS, group_lines, option_lines
from dvt.decomposition.quality import config_folder

METHODS = ("raw", "decomposed")

USAGE = """\
dvt show: a labelled picture of the features of an image: PCA colours, norms, similarity to a patch, clusters.

usage: dvt show image=FILE [out=FILE.png] [method=[raw,decomposed]] [key=value ...]

  dvt show image=cat.jpg                                          raw, clean, artifact and residual of DINOv2-B
  dvt show image=cat.jpg method=[raw] backbone=dino_small         the raw features alone, in a moment
  dvt show image=cat.jpg patch=[4,7] out=pictures/cat.png         similarity to the patch in row 4, column 7"""


def help_page() -> str:
    """What `dvt show --help` prints."""
    folder = config_folder()
    groups = [*group_lines(folder, "quality"), *group_lines(folder, "backbone")]
    return "\n".join([USAGE, "", "Choices", *groups, "", "Options", *option_lines(Options), "", "Flags", FLAGS])


def run(arguments: list[str]) -> int:
    """Run the verb and return its exit code."""
    from dvt.cli.compose import run_verb

    return run_verb("show", Options, arguments, show)


def show(options: Options, choices: dict[str, str]) -> int:
    """Write the picture; returns the exit code."""
    from dvt.backbone.load import load_from_config
    from dvt.decomposition.run import decompose_image
    from dvt.errors import ConfigError
    from dvt.images import read_image
    from dvt.runtime import pick_device
    from dvt.viz import decomposition_rows, draw_panel, method_rows, save_png

    unknown = [name for name in options.method if name not in METHODS]
    if unknown or not options.method:
        raise ConfigError(f"method=[{','.join(options.method)}]: give some of {', '.join(METHODS)}.")
    image = read_image(options.image, max_pixels=options.max_pixels)
    backbone = load_from_config(options.backbone, pick_device(options.device))
    patch = (options.patch[0], options.patch[1]) if options.patch else None
    full_view = backbone.preprocess(image).clamp(0, 1)  # the interpolation oversteps
    if "decomposed" in options.method:
        result = decompose_image(image, backbone, options, options.seed)
        if "raw" in options.method:
            rows = decomposition_rows(
                full_view, result.raw, result.clean, result.artifact, result.residual, patch=patch
            )
        else:
            rows = method_rows(full_view, {"clean": result.clean}, patch=patch)
    else:
        raw = backbone(full_view[None]).patches[0].float().cpu()
        rows = method_rows(full_view, {"raw": raw}, patch=patch)
    out = Path(options.out or f"{Path(options.image).stem}.dvt.png")
    title = f"{Path(options.image).name}   {backbone.timm_name}, {backbone.grid}"
    save_png(draw_panel(rows, title=title), out)
    print(out)
    return 0
