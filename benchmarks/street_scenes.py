"""Street scenes, and what their features are asked: what camvid.py, fine.py and denoiser.py share.

CAMVID is CamVid as `dvt evaluate data=` takes it. Every n-th picture is taken, from the first: 40 of the 117 test
pictures are every second one up to the 79th, and the streets at the end of the list are not among them. `dvt evaluate`
spreads its pictures over the whole list, and its numbers are others; these picks stay, so that records can be compared.
(In records of 2026-11-21 labels were resized by `nearest`, not `nearest-exact`: 0.7 % of the patches had another one.)
Labels are the majority class of each patch, void left out. Scores are mIoU in percent over the classes that occur:

    linear     softmax regression on standardised features, as in `dvt evaluate task=linear_segmentation`
    kNN        majority of the 10 nearest training patches (cosine)
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import Tensor
from torch.nn import functional

from dvt.diagnosis.position import PositionShare
from dvt.evaluation.config.segmentation import PatchProbeConfig
from dvt.evaluation.datasets.camvid import DATA
from dvt.evaluation.datasets.samples import FileSamples
from dvt.evaluation.metrics import Confusion
from dvt.evaluation.patches import majority_labels
from dvt.evaluation.probes.linear import train_probe
from dvt.grid import PatchGrid


def scene_parser(description: str | None) -> argparse.ArgumentParser:
    """The options that all three have."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--backbone", default="vit_tiny_patch16_224")
    parser.add_argument("--weights", required=True, help="of the backbone")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--train", type=int, default=60, help="pictures to learn from")
    parser.add_argument("--probe-seeds", type=int, default=3)
    return parser


def add_setting_options(parser: argparse.ArgumentParser) -> None:
    """The options of benchmarks that compare settings of stage 1."""
    parser.add_argument("--before-norm", action="store_true", help="features before the final norm")
    parser.add_argument("--setting", action="append", required=True, help="blank-separated key=value")
    parser.add_argument("--fine", type=int, default=4, help="cells per patch along each side")
    parser.add_argument("--draw", type=int, default=0, help="seed of the views")


def shown(args: argparse.Namespace) -> dict[str, str]:
    """The options for the record: all but the paths."""
    return {key: str(value) for key, value in vars(args).items() if key not in ("data", "weights")}


def options(pairs: list[str]) -> dict[str, Any]:
    """Options of a decomposition from key=value, for `load_quality`."""
    return OmegaConf.to_container(OmegaConf.from_dotlist(pairs))  # type: ignore[return-value]


def scenes(data: Path, split: str, count: int) -> FileSamples:
    """Every n-th image of a split from the first; see above."""
    files = DATA.find(data, (split,))[split]
    return DATA.samples(files[:: max(1, len(files) // count)][:count])


def patch_labels(target: Tensor, grid: PatchGrid) -> Tensor:
    """(H, W) majority class of every patch, -1 where more than half is void."""
    return majority_labels(target, grid, len(DATA.class_names))


def linear_mious(train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor, seeds: int) -> list[float]:
    """Of the linear probe, for every seed; (N, H, W, C) features and (N, H, W) labels."""
    probes = [
        train_probe(train.flatten(0, 2), train_labels.flatten(), len(DATA.class_names), PatchProbeConfig(), seed)
        for seed in range(seeds)
    ]
    return [miou(probe(test).argmax(dim=-1), test_labels) for probe in probes]


def knn_miou(train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor, k: int = 10) -> float:
    """Of the majority of the k nearest training patches; shapes as for the linear probe."""
    used = train_labels >= 0
    bank, classes = functional.normalize(train[used], dim=1), train_labels[used]
    found = [
        classes[(functional.normalize(tokens, dim=1) @ bank.T).topk(k).indices].mode(dim=1).values
        for tokens in test.flatten(0, 2).split(1024)
    ]
    return miou(torch.cat(found).reshape(test_labels.shape), test_labels)


def miou(found: Tensor, labels: Tensor) -> float:
    """In percent."""
    confusion = Confusion(len(DATA.class_names))
    confusion.add(labels, found)
    return 100 * confusion.mean_iou


def position_share(maps: Tensor) -> float:
    """Share of the variance of (N, H, W, C) features that their position alone explains."""
    share = PositionShare()
    share.update(maps)
    return share.value


def agreement(artifacts: Sequence[Tensor]) -> float:
    """Cosine of the G of an image with the mean G of all, mean over the images."""
    flat = torch.stack(list(artifacts)).flatten(1)
    return float(torch.cosine_similarity(flat, flat.mean(dim=0)[None]).mean())
