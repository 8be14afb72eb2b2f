"""What trained denoisers (or distilled ViTs) do to the features of street scenes, beside the raw ones.

    python benchmarks/denoiser.py --data CAMVID --backbone vit_tiny_patch16_224 --weights FILE RUN [RUN ...]

Pictures and probe: street_scenes.py. Every RUN is a folder that `dvt train` or `dvt distill` wrote, one per training
seed. Printed: mIoU of the linear probe (mean and deviation over probe seeds), for raw and for every run, then over all
runs, and the share of variance that position explains. `--split val` to choose between recipes, so that the test images
are not what was chosen on.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from street_scenes import linear_mious, patch_labels, position_share, scene_parser, scenes, shown
from torch import Tensor

import dvt
from dvt.backbone.features import FeatureExtractor
from dvt.evaluation.datasets.samples import Sample
from dvt.runtime import environment


def parse() -> argparse.Namespace:
    parser = scene_parser(__doc__)
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--test", type=int, default=40)
    parser.add_argument("--split", default="test", choices=("val", "test"))
    return parser.parse_args()


def main() -> None:
    args = parse()
    backbone = dvt.load_backbone(args.backbone, weights=args.weights, image_size=args.image_size)
    train, test = (list(scenes(args.data, *which)) for which in (("train", args.train), (args.split, args.test)))
    labels = [torch.stack([patch_labels(each.target, backbone.grid) for each in some]) for some in (train, test)]
    results: dict[str, dict[str, object]] = {}
    scores: dict[str, list[float]] = {}
    for name in ("raw", *args.runs):
        model = backbone if name == "raw" else _load(args, name)
        maps = [_features(model, some) for some in (train, test)]
        scores[name] = linear_mious(maps[0], labels[0], maps[1], labels[1], args.probe_seeds)
        share = position_share(maps[1])
        results[name] = {"miou": [round(score, 2) for score in scores[name]], "position": round(share, 3)}
        mean, spread = np.mean(scores[name]), np.std(scores[name])
        print(f"{name:40} {mean:6.2f} +- {spread:.2f}   position {share:.3f}", flush=True)
    means = [np.mean(scores[name]) for name in args.runs]
    print(f"{'all runs':40} {np.mean(means):6.2f} +- {np.std(means):.2f} between runs")
    print(json.dumps({"benchmark": "denoiser", **shown(args), "results": results, "machine": environment()}))


def _load(args: argparse.Namespace, run: str) -> FeatureExtractor:
    """A denoiser goes behind the backbone; a distilled ViT has weights of its own."""
    kind = json.loads((Path(run) / "config.json").read_text())["kind"]
    own = {"backbone_weights": args.weights} if kind == "denoiser" else {}
    return dvt.load_denoised(args.backbone, run, **own)[0]


@torch.no_grad()
def _features(model: FeatureExtractor, samples: Sequence[Sample]) -> Tensor:
    """(N, H, W, C) of whole images."""
    images = torch.stack([model.preprocess(sample.image) for sample in samples])  # type: ignore[attr-defined]
    return torch.cat([model(part).patches.float() for part in images.split(16)])


if __name__ == "__main__":
    main()
