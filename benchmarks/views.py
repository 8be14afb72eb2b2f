"""How many views stage 1 needs: quality against their number, on street scenes.

    python benchmarks/views.py --data CAMVID --weights FILE
    python benchmarks/views.py ... --solver gradient --train 12 --val 8 --option num_steps=1000

The largest number of views is extracted once per image; smaller ones are the first of them, and the full view. Probes
learn on pictures of train/ and are scored on pictures of val/ (never test/: the default is chosen from this). Printed
per number of views, for F:

    linear     mIoU of the linear probe of benchmarks/camvid.py on patches; mean and deviation over probe seeds
    kNN        mIoU of the majority of the 10 nearest training patches (cosine); no seed
    position   share of the variance of the features that their position alone explains
    held out   error on 64 views that no fit has seen, as a share of the variance; mean over the images
    agreement  cosine of an image's G with the mean G of all images
    s          seconds per image to extract so many views, in proportion, and to solve: medians
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from camvid import evenly, options, patch_labels, position_share, probe
from torch import Tensor

from dvt.backbone.load import load_backbone
from dvt.decomposition.config import DecomposeConfig
from dvt.decomposition.quality import load_quality
from dvt.decomposition.run import clean_map, extract_tokens, solve
from dvt.decomposition.solution import Solution
from dvt.decomposition.tokens import ViewTokens
from dvt.images import read_image
from dvt.runtime import environment, seed_for

HELD_OUT = 64


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--backbone", default="vit_tiny_patch16_224")
    parser.add_argument("--weights", required=True)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--before-norm", action="store_true", help="features before the final norm")
    parser.add_argument("--views", default="16,32,64,128,256,512,768", help="numbers of views, rising")
    parser.add_argument("--solver", default="closed_form", choices=["closed_form", "gradient"])
    parser.add_argument("--option", action="append", default=[], help="of the decomposition, key=value")
    parser.add_argument("--train", type=int, default=60)
    parser.add_argument("--val", type=int, default=40)
    parser.add_argument("--probe-seeds", type=int, default=3)
    return parser.parse_args()


def main() -> None:
    args = parse()
    backbone = load_backbone(args.backbone, weights=args.weights, image_size=args.image_size, norm=not args.before_norm)
    counts = [int(count) for count in args.views.split(",")]
    shared = {"solver": args.solver, "num_views": counts[-1], "held_out_views": HELD_OUT}
    config = load_quality("fast", shared | options(" ".join(args.option)))
    found: dict[str, dict[str, list[Tensor]]] = {split: {} for split in ("train", "val")}
    numbers: dict[int, dict[str, list[float]]] = {count: {"held_out": [], "solve": []} for count in counts}
    view_s: list[float] = []
    for split, rows in found.items():
        for number, path in enumerate(evenly(sorted((args.data / split).glob("*.jpg")), getattr(args, split)), 1):
            print(f"{split} {number}", file=sys.stderr, flush=True)
            start = time.perf_counter()
            tokens, held_out = extract_tokens(read_image(path), backbone, config, seed_for(0, path.name))
            assert held_out is not None
            view_s.append((time.perf_counter() - start) / (counts[-1] + HELD_OUT + 1))
            rows.setdefault("labels", []).append(patch_labels(path, backbone.grid.image_hw, backbone.grid.patch))
            rows.setdefault("raw", []).append(tokens.raw[-1].clone())
            for count in counts:
                solution, clean = fit(first_views(tokens, count), held_out, config, numbers[count])
                rows.setdefault(f"F {count}", []).append(clean)
                rows.setdefault(f"G {count}", []).append(solution.artifact)
    report(args, config, found, numbers, float(np.median(view_s)))


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
    with torch.no_grad():
        variance = (held_out.raw - held_out.raw.mean(dim=(0, 1, 2))).square().mean()
        errors = [
            (raw - solution.clean_at(xy) - solution.artifact).square().mean()
            for raw, xy in zip(held_out.raw, held_out.image_xy, strict=True)
        ]
        numbers["held_out"].append(float(torch.stack(errors).mean() / variance))
        return solution, clean_map(solution, tokens, config.samples_per_patch)


def neighbours(train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor, k: int = 10) -> float:
    """Score in percent of the majority of the k nearest training patches."""
    used = train_labels >= 0
    bank = torch.nn.functional.normalize(train[used], dim=1)
    nearest = [
        train_labels[used][(torch.nn.functional.normalize(part, dim=1) @ bank.T).topk(k).indices].mode(dim=1).values
        for part in test[test_labels >= 0].split(1024)
    ]
    guess, truth = torch.cat(nearest), test_labels[test_labels >= 0]
    overlaps = [
        float(((guess == label) & (truth == label)).sum() / ((guess == label) | (truth == label)).sum())
        for label in truth.unique()
    ]
    return 100 * float(np.mean(overlaps))


def report(
    args: argparse.Namespace,
    config: DecomposeConfig,
    found: dict[str, dict[str, list[Tensor]]],
    numbers: dict[int, dict[str, list[float]]],
    view_s: float,
) -> None:
    stacked = {split: {name: torch.stack(values) for name, values in rows.items()} for split, rows in found.items()}
    labels = [stacked[split]["labels"].flatten() for split in ("train", "val")]
    results: dict[str, dict[str, float]] = {}

    def score(name: str) -> str:
        train, val = (stacked[split][name].flatten(0, 2) for split in ("train", "val"))
        seeds = [probe(train, labels[0], val, labels[1], seed) for seed in range(args.probe_seeds)]
        linear, spread, near = float(np.mean(seeds)), float(np.std(seeds)), neighbours(train, labels[0], val, labels[1])
        share = position_share(stacked["val"][name])
        results[name] = {"linear": linear, "std": spread, "knn": near, "position": share}
        return f"{linear:7.2f} +- {spread:.2f}{near:8.2f}{share:11.3f}"

    print(f"{args.solver}, {len(stacked['train']['raw'])} train, {len(stacked['val']['raw'])} val images")
    print(f"{'views':>7}{'linear':>7}{'':8}{'kNN':>8}{'position':>11}{'held out':>11}{'agreement':>11}{'s':>8}")
    print(f"{'raw':>7}{score('raw')}{'':22}{view_s:8.2f}", flush=True)
    for count, of_count in numbers.items():
        artifacts = torch.cat([stacked[split][f"G {count}"] for split in ("train", "val")]).flatten(1)
        agreement = float(torch.cosine_similarity(artifacts, artifacts.mean(dim=0)[None]).mean())
        error, seconds = (
            float(np.mean(of_count["held_out"])),
            view_s * (count + 1) + float(np.median(of_count["solve"])),
        )
        line = score(f"F {count}")
        results[f"F {count}"] |= {"held_out": error, "agreement": agreement, "seconds": seconds}
        print(f"{count:7}{line}{error:11.4f}{agreement:11.3f}{seconds:8.2f}", flush=True)
    named = {key: str(value) for key, value in vars(args).items() if key not in ("data", "weights")}
    print(json.dumps({"benchmark": "views", **named, "results": results, "machine": environment()}))


if __name__ == "__main__":
    main()
