"""Layouts and numbers of views, nodes and fine features of stage 1, side by side on street scenes.

    python benchmarks/fine.py --data CAMVID --weights FILE --setting "num_views=128" \
        --setting "layout=grid num_views=34" --setting "layout=grid num_views=34 nodes_per_patch=4 smoothness=0.2"

Images and probes: street_scenes.py. Scored are images of val/, never of test/: defaults are chosen from this. Every
setting is a list of options of `quality=fast` and extracts its own views. Printed per setting:

    patch      mIoU of the linear probe on the patches; mean and deviation over probe seeds
    kNN        mIoU of the nearest training patches; no seed
    upsampled  mIoU of the linear probe on `--fine` x `--fine` cells a patch, with the patch features interpolated
    fine       the same with F read at the cells
    held out   error on 16 random views, the same for all settings, as a share of their variance
    agreement  cosine of an image's G with the mean G of all images
    position   share of the variance of the patch features that their position alone explains
"""

import argparse
import json
import sys

import numpy as np
import torch
from street_scenes import (
    add_setting_options,
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
from dvt.decomposition.quality import load_quality
from dvt.decomposition.run import clean_map, extract_tokens, solve
from dvt.decomposition.solution import held_out_error
from dvt.evaluation.patches import upsample
from dvt.runtime import environment, seed_for

HELD_OUT = 16


def parse() -> argparse.Namespace:
    parser = scene_parser(__doc__)
    parser.add_argument("--val", type=int, default=30)
    add_setting_options(parser)
    return parser.parse_args()


def main() -> None:
    args = parse()
    backbone = load_backbone(args.backbone, weights=args.weights, image_size=args.image_size, norm=not args.before_norm)
    grid, cells = backbone.grid, backbone.grid.finer(args.fine)
    settings = {text: load_quality("fast", options(text.split())) for text in args.setting}
    referee = load_quality("fast", {"num_views": 1, "held_out_views": HELD_OUT})
    found: dict[str, dict[str, list[Tensor]]] = {split: {} for split in ("train", "val")}
    errors: dict[str, list[float]] = {text: [] for text in settings}
    for split, rows in found.items():
        images = scenes(args.data, split, getattr(args, split))
        for number, (sample, files) in enumerate(zip(images, images.files, strict=True), 1):
            print(f"{split} {number}", file=sys.stderr, flush=True)
            seed = seed_for(args.draw, files.image.name)
            tokens, held_out = extract_tokens(sample.image, backbone, referee, seed_for(seed, "held out"))
            assert held_out is not None
            rows.setdefault("patch labels", []).append(patch_labels(sample.target, grid))
            rows.setdefault("labels", []).append(patch_labels(sample.target, cells))
            rows.setdefault("raw", []).append(tokens.raw[-1].clone())
            for text, config in settings.items():
                tokens, _ = extract_tokens(sample.image, backbone, config, seed)
                solution = solve(tokens, config, 0)
                errors[text].append(held_out_error(solution, held_out))
                with torch.no_grad():
                    rows.setdefault(text, []).append(clean_map(solution, tokens))
                rows.setdefault(f"fine {text}", []).append(solution.field.read(cells).half())
                rows.setdefault(f"G {text}", []).append(solution.artifact)

    train, val = ({name: torch.stack(values) for name, values in rows.items()} for rows in found.values())
    results: dict[str, dict[str, float]] = {}

    def linear(row: dict[str, float], name: str, train_maps: Tensor, val_maps: Tensor, labels: str) -> str:
        mious = linear_mious(train_maps.float(), train[labels], val_maps.float(), val[labels], args.probe_seeds)
        row |= {name: float(np.mean(mious)), f"{name} std": float(np.std(mious))}
        return f"{row[name]:8.2f} +- {row[f'{name} std']:.2f}"

    print(f"draw {args.draw}, {len(train['raw'])} train, {len(val['raw'])} val images, {grid}")
    print(f"{'patch':>9}{'kNN':>13}{'upsampled':>14}{'fine':>11}{'held out':>15}{'agreement':>11}{'position':>10}")
    for text in ("raw", *settings):
        row = results.setdefault(text, {})
        line = linear(row, "patch", train[text], val[text], "patch labels")
        row["knn"] = knn_miou(train[text], train["patch labels"], val[text], val["patch labels"])
        row["position"] = position_share(val[text])
        line += f"{row['knn']:8.2f}"
        wide = [upsample(split[text], grid, cells.hw) for split in (train, val)]
        line += linear(row, "upsampled", *wide, "labels")
        if text in settings:
            line += linear(row, "fine", train[f"fine {text}"], val[f"fine {text}"], "labels")
            row["held out"] = float(np.mean(errors[text]))
            row["agreement"] = agreement([*train[f"G {text}"], *val[f"G {text}"]])
            line += f"{row['held out']:9.4f}{row['agreement']:11.3f}{row['position']:10.3f}"
        else:
            line += f"{'':35}{row['position']:10.3f}"
        print(f"{text}\n{line}", flush=True)
    print(json.dumps({"benchmark": "fine", **shown(args), "results": results, "machine": environment()}))


if __name__ == "__main__":
    main()
