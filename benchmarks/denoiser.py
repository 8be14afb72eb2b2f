"""What trained denoisers (or distilled ViTs) do to the features of street scenes, beside the raw ones.

    python benchmarks/denoiser.py --data CAMVID --backbone vit_tiny_patch16_224 --weights FILE RUN [RUN ...]

CAMVID as in camvid.py, whose probe this is. Every RUN is a folder that `dvt train` or `dvt distill` wrote, one per
training seed. Printed: mIoU of the linear probe (mean and deviation over probe seeds), for raw and for every run, then
over all runs, and the share of variance that position explains. `--split val` to choose between recipes, so that the
test images are not what was chosen on.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from camvid import evenly, patch_labels, probe
from torch import Tensor

import dvt
from dvt.backbone.features import FeatureExtractor
from dvt.images import read_image
from dvt.runtime import environment
from dvt.scores import PositionShare


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--backbone", default="vit_tiny_patch16_224")
    parser.add_argument("--weights", required=True, help="of the backbone, before distillation")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--train", type=int, default=60)
    parser.add_argument("--test", type=int, default=40)
    parser.add_argument("--split", default="test", choices=("val", "test"))
    parser.add_argument("--probe-seeds", type=int, default=3)
    return parser.parse_args()


def main() -> None:
    args = parse()
    paths = {
        "train": evenly(sorted((args.data / "train").glob("*.jpg")), args.train),
        "test": evenly(sorted((args.data / args.split).glob("*.jpg")), args.test),
    }
    backbone = dvt.load_backbone(args.backbone, weights=args.weights, image_size=args.image_size)
    labels = {
        split: torch.stack([patch_labels(path, backbone.grid.image_hw, backbone.grid.patch) for path in files])
        for split, files in paths.items()
    }
    results: dict[str, dict[str, object]] = {}
    for name in ("raw", *args.runs):
        model = backbone if name == "raw" else _load(args, name)
        maps = {split: _features(model, files) for split, files in paths.items()}
        scores = [
            probe(*(each.flatten(0, 2 if each.ndim == 4 else -1) for each in _in_turn(maps, labels)), seed)
            for seed in range(args.probe_seeds)
        ]
        share = PositionShare()
        share.update(maps["test"])
        results[name] = {"miou": [round(score, 2) for score in scores], "position": round(share.value, 3)}
        print(f"{name:40} {np.mean(scores):6.2f} +- {np.std(scores):.2f}   position {share.value:.3f}", flush=True)
    every = [score for name in args.runs for score in results[name]["miou"]]  # type: ignore[attr-defined]
    means = [np.mean(results[name]["miou"]) for name in args.runs]  # type: ignore[arg-type]
    print(f"{'all runs':40} {np.mean(every):6.2f} +- {np.std(means):.2f} between runs")
    shown = {key: str(value) for key, value in vars(args).items() if key not in ("data", "weights")}
    print(json.dumps({"benchmark": "denoiser", **shown, "results": results, "machine": environment()}))


def _load(args: argparse.Namespace, run: str) -> FeatureExtractor:
    """A denoiser goes behind the backbone; a distilled ViT has weights of its own."""
    kind = json.loads((Path(run) / "config.json").read_text())["kind"]
    own = {} if "distilled" in kind else {"backbone_weights": args.weights}
    return dvt.load_denoised(args.backbone, run, **own)[0]


@torch.no_grad()
def _features(model: FeatureExtractor, paths: list[Path]) -> Tensor:
    """(N, H, W, C) of whole images."""
    images = torch.stack([model.preprocess(read_image(path)) for path in paths])  # type: ignore[attr-defined]
    return torch.cat([model(part).patches.float() for part in images.split(16)])


def _in_turn(maps: dict[str, Tensor], labels: dict[str, Tensor]) -> list[Tensor]:
    return [maps["train"], labels["train"], maps["test"], labels["test"]]


if __name__ == "__main__":
    main()
