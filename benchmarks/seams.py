"""Seams of F: how much more F changes across the borders of crops than elsewhere.

    python benchmarks/seams.py --images CAMVID/val --images IMAGENETTE/val --count 4 --weights FILE \
        --setting "layout=grid num_views=41 nodes_per_patch=4 smoothness=0.2" \
        --setting "layout=grid num_views=41 nodes_per_patch=4 smoothness=0.2 border_weight=0.3"

Images are spread evenly over each folder, in the order of their paths; no folder of test images belongs here. Every
setting is a list of options of `quality=fast`; settings with the same views share their tokens. F is read at
`--fine` x `--fine` cells a patch. A pair of neighbouring cells is across a border if it is at most half a patch of the
crop inside and a quarter outside; borders on the edge of the image do not count. Printed per setting, mean and
standard error over the images:

    ratio      mean difference of F between the cells of pairs across a border, over that of all other pairs
    control    the same pairs and ratio for F of `--control` random views, whose borders are elsewhere
    seam       ratio / control: 1 without seams, as both have the content of the image
    held out   error on 16 random views, the same for all settings, as a share of their variance
    no offset  the same after the mean error of every held-out view is taken away
"""

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from street_scenes import add_setting_options, options, shown
from torch import Tensor

from dvt.backbone.backbone import Backbone
from dvt.backbone.load import load_backbone
from dvt.decomposition.config import DecomposeConfig
from dvt.decomposition.quality import load_quality
from dvt.decomposition.run import extract_tokens, solve
from dvt.decomposition.solution import Solution, ViewTokens, held_out_error
from dvt.grid import PatchGrid
from dvt.images import read_image
from dvt.images.formats import has_image_extension
from dvt.runtime import environment, seed_for
from dvt.shapes import ImageTensor
from dvt.views.crop import sample_crops
from dvt.views.render import make_source

HELD_OUT = 16
INSIDE, OUTSIDE = 0.5, 0.25
"""A pair of cells up to these distances from a border is across it, in patches of the crop."""


@dataclass(frozen=True)
class Border:
    """A border of a crop inside the image, vertical or horizontal; all numbers are shares of the side of the image."""

    vertical: bool
    first: float
    """Start of the band across the border, along the direction that it cuts."""
    last: float
    """End of the band."""
    start: float
    """Start of the border along itself."""
    end: float
    """End of the border along itself."""


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, action="append", required=True, help="folder of images; may be repeated")
    parser.add_argument("--count", type=int, default=4, help="images of each folder")
    parser.add_argument("--backbone", default="vit_tiny_patch16_224")
    parser.add_argument("--weights", required=True, help="of the backbone")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--control", type=int, default=128, help="random views of the control")
    add_setting_options(parser)
    return parser.parse_args()


def main() -> None:
    args = parse()
    backbone = load_backbone(args.backbone, weights=args.weights, image_size=args.image_size, norm=not args.before_norm)
    cells = backbone.grid.finer(args.fine)
    settings = {text: load_quality("fast", options(text.split())) for text in args.setting}
    control = load_quality("fast", {"layout": "random", "num_views": args.control})
    referee = load_quality("fast", {"num_views": 1, "held_out_views": HELD_OUT})
    rows: dict[str, list[list[float]]] = {text: [] for text in settings}
    for path in [path for folder in args.images for path in spread(folder, args.count)]:
        print(path.name, file=sys.stderr, flush=True)
        image, seed = read_image(path), seed_for(args.draw, path.name)
        held_out = extract_tokens(image, backbone, referee, seed_for(seed, "held out"))[1]
        assert held_out is not None
        seam_free = fit(image, backbone, control, seed_for(seed, "control")).field.read(cells)
        tokens: dict[str, ViewTokens] = {}
        for text, config in settings.items():
            if str(config.views) not in tokens:
                tokens = {str(config.views): extract_tokens(image, backbone, config, seed)[0]}
            solution = solve(tokens[str(config.views)], config, 0)
            across = pairs_across(crop_borders(image, backbone.grid, config, seed), cells)
            ratio = change(solution.field.read(cells), across)
            same_pairs = change(seam_free, across)
            error = held_out_error(solution, held_out)
            rows[text].append([ratio, same_pairs, ratio / same_pairs, error, without_offsets(solution, held_out)])

    names = ("ratio", "control", "seam", "held out", "no offset")
    results: dict[str, dict[str, float]] = {}
    print(f"draw {args.draw}, {len(next(iter(rows.values())))} images, {backbone.grid}")
    print("".join(f"{name:>16}" for name in names))
    for text, numbers in rows.items():
        table = torch.tensor(numbers)
        mean, spread_of_mean = table.mean(dim=0).tolist(), (table.std(dim=0) / len(table) ** 0.5).tolist()
        results[text] = dict(zip(names, mean, strict=True))
        results[text] |= {f"{name} error": each for name, each in zip(names, spread_of_mean, strict=True)}
        shares = (f"{m:8.3f} +- {s:.3f}" for m, s in zip(mean, spread_of_mean, strict=True))
        print(f"{text}\n" + "".join(f"{share:>16}" for share in shares))
    shown_args = {key: value for key, value in shown(args).items() if key != "images"}
    print(json.dumps({"benchmark": "seams", **shown_args, "results": results, "machine": environment()}))


def spread(folder: Path, count: int) -> list[Path]:
    """Images spread evenly over a folder and the folders in it."""
    paths = sorted(path for path in folder.rglob("*") if has_image_extension(path))
    return paths[:: max(1, len(paths) // count)][:count]


def fit(image: ImageTensor, backbone: Backbone, config: DecomposeConfig, seed: int) -> Solution:
    return solve(extract_tokens(image, backbone, config, seed)[0], config, 0)


def without_offsets(solution: Solution, held_out: ViewTokens) -> float:
    """`held_out_error` after the mean error of every view is taken away."""
    errors = []
    for raw, image_xy in zip(held_out.raw, held_out.image_xy, strict=True):
        error = raw - solution.field.at(image_xy) - solution.artifact
        errors.append((error - error.mean(dim=(0, 1))).square().mean())
    return float(torch.stack(errors).mean() / held_out.variance)


def crop_borders(image: ImageTensor, grid: PatchGrid, config: DecomposeConfig, seed: int) -> list[Border]:
    """The borders of all crops that are inside the image."""
    source = make_source(image, grid.image_hw, config.views)
    height, width = source.shape[-2:]
    borders = []
    for crop in sample_crops((height, width), grid, config.views.num_views, seed, config.views):
        x, y, w, h = crop.left / width, crop.top / height, crop.width / width, crop.height / height
        for vertical, low, size, start, end, count in (
            (True, x, w, y, y + h, grid.hw[1]),
            (False, y, h, x, x + w, grid.hw[0]),
        ):
            inside, outside = INSIDE * size / count, OUTSIDE * size / count
            if low > 0:
                borders.append(Border(vertical, low - outside, low + inside, start, end))
            if low + size < 1:
                borders.append(Border(vertical, low + size - inside, low + size + outside, start, end))
    return borders


def pairs_across(borders: list[Border], cells: PatchGrid) -> tuple[Tensor, Tensor]:
    """(H, W - 1) and (H - 1, W): is the pair of a cell and the next one to the right, or below, across a border?"""
    rows, columns = cells.hw
    right = torch.zeros(rows, columns - 1, dtype=torch.bool)
    below = torch.zeros(rows - 1, columns, dtype=torch.bool)
    for border in borders:
        pairs = right if border.vertical else below.T
        length, count = pairs.shape
        place = (torch.arange(count) + 1) / (count + 1)
        along = (torch.arange(length) + 0.5) / length
        hit = (place >= border.first) & (place <= border.last)
        pairs |= ((along >= border.start) & (along <= border.end))[:, None] & hit[None]
    return right, below


def change(clean: Tensor, across: tuple[Tensor, Tensor]) -> float:
    """Mean difference between the cells of the marked pairs of an (H, W, C) map, over that of the other pairs."""
    change = torch.cat([clean.diff(dim=1).norm(dim=-1).flatten(), clean.diff(dim=0).norm(dim=-1).flatten()])
    marked = torch.cat([each.flatten() for each in across])
    return float(change[marked].mean() / change[~marked].mean())


if __name__ == "__main__":
    main()
