"""LinearDepth: how much depth a head reads from frozen features: a linear one, or that of DPT."""

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

from dvt.errors import EvaluationError
from dvt.evaluation.config.depth import DepthDataset, DepthProtocol, HeadConfig, HeadKind, LinearDepthConfig
from dvt.evaluation.datasets.depth import EIGEN_BOX, NYU_BORDER_BOX, crop_box, keep_box, read_depth
from dvt.evaluation.datasets.nyuv2 import find_nyuv2
from dvt.evaluation.datasets.samples import FileSamples, Sample
from dvt.evaluation.datasets.sevenscenes import find_sevenscenes
from dvt.evaluation.layouts import LaidOut, metrics_in, score_layouts
from dvt.evaluation.metrics import DEPTH_METRICS, depth_errors
from dvt.evaluation.patches import BATCH_SIZE, finite_features, fitting_hw
from dvt.evaluation.probes.depth_head import DepthHead, is_known, resized_depth, with_class_token
from dvt.evaluation.probes.depth_training import paper_heads, quick_heads
from dvt.evaluation.task import Scores
from dvt.grid import image_hw
from dvt.methods.method import Method
from dvt.progress import SILENT, Reporter

_QUICK_SIZE = 224
_QUICK_TRAIN = 1000
"""Tokens of that many images fit into memory."""


class LinearDepth:
    """Depth by a linear head on frozen features (DVT paper, section 5.2; DINOv2's linear head).

    Attributes:
        name: linear_depth.
        metrics: RMSE first; names end with the layout, except for the usual one.
    """

    name = "linear_depth"

    def __init__(self, config: LinearDepthConfig, data: Path):
        """Find the data set in the folder `data`; images are read later.

        Raises:
            ConfigError: an invalid image size.
            EvaluationError: data are missing.
        """
        self._config = config
        self.metrics = metrics_in(DEPTH_METRICS, config.layouts)
        self._quick = config.chosen_protocol is DepthProtocol.quick
        self._size = image_hw(_QUICK_SIZE if config.image_size is None else config.image_size)
        for size in (config.paper.train_size, config.paper.test_size):
            image_hw(size)
        is_nyu = config.dataset is DepthDataset.nyuv2
        self._eigen_crop = is_nyu if config.eigen_crop is None else config.eigen_crop
        change = None
        if is_nyu:
            files, test_files = find_nyuv2(data)
            self._split = "the lists of the data set"
            # quick resizes whole images in training as in testing; paper crops images without a border.
            change = partial(keep_box if self._quick else crop_box, box=NYU_BORDER_BOX)
        else:
            files, test_files, self._split = find_sevenscenes(data, config.sevenscenes)
        num_train = config.num_train
        if num_train is None and self._quick:
            num_train = min(_QUICK_TRAIN, len(files))
        self._train = FileSamples(files, read_depth, change).evenly_spaced(num_train, "num_train")
        keep = partial(keep_box, box=EIGEN_BOX) if self._eigen_crop else None
        self._test = FileSamples(test_files, read_depth, keep).evenly_spaced(config.num_test, "num_test")

    @property
    def protocol(self) -> dict[str, Any]:
        """How it measures."""
        config = self._config
        split = {"sevenscenes": asdict(config.sevenscenes)} if config.dataset is DepthDataset.sevenscenes else {}
        if self._quick:
            numbers = {"image_size": list(self._size), **asdict(config.quick)}
        else:
            numbers = {name: value for name, value in asdict(config.paper).items() if name != "num_workers"}
        return {
            "dataset": str(config.dataset),
            "split": self._split,
            **split,
            "train_images": len(self._train),
            "test_images": len(self._test),
            "eigen_crop": self._eigen_crop,
            "layouts": [str(layout) for layout in config.layouts],
            "protocol": str(config.chosen_protocol),
            **numbers,
            "head": _head_numbers(config.head),
            "loss": {**asdict(config.loss), "gradient": str(config.loss.gradient)},
            "seeds": config.seeds,
        }

    def evaluate(self, method: Method, reporter: Reporter = SILENT) -> Scores:
        """Train a head per seed and score each on the test images, in every layout.

        Raises:
            EvaluationError: files cannot be read, or no depth is known in any image.
            GeometryError: the size does not fit the patch.
        """
        config = self._config

        def fit(samples: LaidOut) -> tuple[list[DepthHead], Sequence[str]]:
            if not self._quick:
                return paper_heads(method, samples, config, reporter), ()
            heads, unusable = quick_heads(method, samples, self._size, config, reporter)
            return heads, _note("training", unusable)

        def score(heads: list[DepthHead], samples: LaidOut) -> Scores:
            size = self._size if self._quick else fitting_hw(method, image_hw(config.paper.test_size), larger=True)
            flip = not self._quick and config.paper.flip_test
            return score_heads(heads, method, samples, size, config, flip=flip, reporter=reporter)

        return score_layouts(config.layouts, self._train, self._test, fit, score)


def score_heads(
    heads: Sequence[DepthHead],
    method: Method,
    samples: Sequence[Sample],
    size: tuple[int, int],
    config: LinearDepthConfig,
    *,
    flip: bool,
    reporter: Reporter = SILENT,
) -> Scores:
    """The errors of every head, averaged over test images; the heads share the features.

    Args:
        heads: one per seed.
        method: makes the features.
        samples: test images; those without any known depth are left out, with a note.
        size: image size.
        config: range of depths.
        flip: average the predictions for the image and its mirror image.
        reporter: shows the progress.

    Raises:
        EvaluationError: no depth is known in any of them.
    """
    errors: list[list[dict[str, float]]] = [[] for _ in heads]
    left_out: list[str] = []
    reporter.start(len(samples), "images", f"{method.name} test features")
    for start in range(0, len(samples), BATCH_SIZE):
        batch = [samples[number] for number in range(start, min(start + BATCH_SIZE, len(samples)))]
        scored = [sample for sample in batch if is_known(sample.target, config.head).any()]
        left_out += [sample.key for sample in batch if not is_known(sample.target, config.head).any()]
        if scored:
            for found, depths in zip(errors, _depths(heads, method, scored, size, flip), strict=True):
                for depth, sample in zip(depths, scored, strict=True):
                    where = is_known(sample.target, config.head)
                    predicted = resized_depth(depth[None], sample.target.shape)[0].cpu()
                    found.append(depth_errors(predicted[where], sample.target[where]))
        reporter.advance(len(batch))
    if not errors[0]:
        raise EvaluationError(
            f"none of the {len(samples)} test images has a depth between {config.head.min_depth} and"
            f" {config.head.max_depth} m where it is scored. Are the depth files in millimetres?"
        )
    values = {
        metric.name: tuple(sum(each[metric.name] for each in found) / len(found) for found in errors)
        for metric in DEPTH_METRICS
    }
    return Scores(values=values, notes=_note("test", left_out))


@torch.no_grad()
def _depths(
    heads: Sequence[DepthHead], method: Method, samples: Sequence[Sample], size: tuple[int, int], flip: bool
) -> list[torch.Tensor]:
    """For every head the (B, y, x) depths of images, on the head's grid."""
    features = finite_features(method, [sample.image for sample in samples], size)
    num_layers = len(method.spec.layers)
    tokens = with_class_token(features, num_layers)
    depths = [head(tokens, features.grid) for head in heads]
    if flip:
        mirrored = [sample.image.flip(-1).contiguous() for sample in samples]
        tokens = with_class_token(finite_features(method, mirrored, size), num_layers)
        also = [head(tokens, features.grid).flip(-1) for head in heads]
        depths = [(one + other) / 2 for one, other in zip(depths, also, strict=True)]
    return depths


def _head_numbers(head: HeadConfig) -> dict[str, Any]:
    """What a table says of the head; of a linear one what it always said."""
    numbers = asdict(head)
    kind, width = numbers.pop("kind"), numbers.pop("width")
    return numbers if kind is HeadKind.linear else {"kind": str(kind), "width": width, **numbers}


def _note(which: str, left_out: list[str]) -> tuple[str, ...]:
    if not left_out:
        return ()
    return (f"{which}: {len(left_out)} images without any known depth were left out (first: {left_out[0]}).",)
