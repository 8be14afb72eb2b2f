"""How many views stage 1 needs: quality against their number, on street scenes.

    python benchmarks/views.py --data CAMVID --weights FILE
    python benchmarks/views.py ... --solver gradient --train 12 --val 8 --option num_steps=1000

The largest number of views is extracted once per image; smaller ones are the first of them, and the full view. Pictures
and probes: street_scenes.py; scored are pictures of val/, never of test/, for the default is chosen from this. Printed
per number of views, for F:

    linear     mIoU of the linear probe; mean and deviation over probe seeds
    kNN        mIoU of the nearest training patches; no seed
    position   share of the variance of the features that their position alone explains
    held out   error on 64 views that no fit has seen, as a share of their variance; mean over the images
    agreement  cosine of an image's G with the mean G of all images
    s          seconds per image to extract so many views, in proportion, and to solve: medians
"""

import argparse
import json
import sys
import time

import numpy as np
import torch
from street_scenes import (
    agreement,
    knn_miou,
    linear_mious,
    options,
    patch_labels,
    position_share,
    scene_parser,
    scenes,
    shown,
)
from torch import Tensor

from dvt.backbone.load import load_backbone
from dvt.decomposition.config import DecomposeConfig
from dvt.decomposition.quality import load_quality
from dvt.decomposition.run import clean_map, extract_tokens, solve
from dvt.decomposition.solution import Solution, ViewTokens, held_out_error
from dvt.runtime import environment, seed_for

HELD_OUT = 64


def parse() -> argparse.Namespace:
    parser = scene_parser(__doc__)
    parser.add_argument("--before-norm", action="store_true", help="features before the final norm")
    parser.add_argument("--views", default="16,32,64,128,256,512,768", help="numbers of views, rising")
    parser.add_argument("--solver", default="closed_form", choices=["closed_form", "gradient"])
    parser.add_argument("--option", action="append", default=[], help="of the decomposition, key=value")
    parser.add_argument("--val", type=int, default=40)
    return parser.parse_args()


def main() -> None:
    args = parse()
    backbone = load_backbone(args.backbone, weights=args.weights, image_size=args.image_size, norm=not args.before_norm)
    counts = [int(count) for count in args.views.split(",")]
    asked = {"solver": args.solver, "num_views": counts[-1], "held_out_views": HELD_OUT}
    config = load_quality("fast", asked | options(args.option))
    found: dict[str, dict[str, list[Tensor]]] = {split: {} for split in ("train", "val")}
    numbers: dict[int, dict[str, list[float]]] = {count: {"held_out": [], "solve": []} for count in counts}
    view_s: list[float] = []
    for split, rows in found.items():
        pictures = scenes(args.data, split, getattr(args, split))
        for number, (sample, files) in enumerate(zip(pictures, pictures.files, strict=True), 1):
            print(f"{split} {number}", file=sys.stderr, flush=True)
            start = time.perf_counter()
            tokens, held_out = extract_tokens(sample.image, backbone, config, seed_for(0, files.image.name))
            assert held_out is not None
            view_s.append((time.perf_counter() - start) / (counts[-1] + HELD_OUT + 1))
            rows.setdefault("labels", []).append(patch_labels(sample.target, backbone.grid))
            rows.setdefault("raw", []).append(tokens.raw[-1].clone())
            for count in counts:
                solution, clean = fit(first_views(tokens, count), held_out, config, numbers[count])
                rows.setdefault(f"F {count}", []).append(clean)
                rows.setdefault(f"G {count}", []).append(solution.artifact)
    report(args, found, numbers, float(np.median(view_s)))


def first_views(tokens: ViewTokens, count: int) -> ViewTokens:
    """Some of the random views, and the full one, which comes last."""
    raw, xy = tokens.raw, tokens.image_xy
    return ViewTokens(torch.cat((raw[:count], raw[-1:])), torch.cat((xy[:count], xy[-1:])), tokens.grid)


def fit(
    tokens: ViewTokens, held_out: ViewTokens, config: DecomposeConfig, numbers: dict[str, list[float]]
) -> tuple[Solution, Tensor]:
    """A solution and its clean map; its error and its time are added to the numbers."""
    start = time.perf_counter()
    solution = solve(tokens, config, 0)
    numbers["solve"].append(time.perf_counter() - start)
    numbers["held_out"].append(held_out_error(solution, held_out))
    with torch.no_grad():
        return solution, clean_map(solution, tokens)


def report(
    args: argparse.Namespace,
    found: dict[str, dict[str, list[Tensor]]],
    numbers: dict[int, dict[str, list[float]]],
    view_s: float,
) -> None:
    train, val = ({name: torch.stack(values) for name, values in rows.items()} for rows in found.values())
    results: dict[str, dict[str, float]] = {}

    def score(name: str) -> str:
        maps = train[name], train["labels"], val[name], val["labels"]
        mious = linear_mious(*maps, args.probe_seeds)
        linear, spread, near, share = (
            float(np.mean(mious)),
            float(np.std(mious)),
            knn_miou(*maps),
            position_share(val[name]),
        )
        results[name] = {"linear": linear, "std": spread, "knn": near, "position": share}
        return f"{linear:7.2f} +- {spread:.2f}{near:8.2f}{share:11.3f}"

    print(f"{args.solver}, {len(train['raw'])} train, {len(val['raw'])} val images")
    print(f"{'views':>7}{'linear':>7}{'':8}{'kNN':>8}{'position':>11}{'held out':>11}{'agreement':>11}{'s':>8}")
    print(f"{'raw':>7}{score('raw')}{'':22}{view_s:8.2f}", flush=True)
    for count, of_count in numbers.items():
        alike = agreement([*train[f"G {count}"], *val[f"G {count}"]])
        error, seconds = (
            float(np.mean(of_count["held_out"])),
            view_s * (count + 1) + float(np.median(of_count["solve"])),
        )
        line = score(f"F {count}")
        results[f"F {count}"] |= {"held_out": error, "agreement": alike, "seconds": seconds}
        print(f"{count:7}{line}{error:11.4f}{alike:11.3f}{seconds:8.2f}", flush=True)
    print(json.dumps({"benchmark": "views", **shown(args), "results": results, "machine": environment()}))


if __name__ == "__main__":
    main()
