"""The paper's protocol of linear segmentation: trained on random crops, tested in sliding windows, by the pixel."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor
from torch.nn import functional

from dvt.evaluation.config.segmentation import LinearSegmentationConfig, WindowsConfig
from dvt.evaluation.datasets.samples import Sample
from dvt.evaluation.datasets.segmentation import SegmentationData
from dvt.evaluation.layout_metrics import metric_in
from dvt.evaluation.metrics import Confusion
from dvt.evaluation.patches import winners
from dvt.evaluation.probes.crops import scaled_hw
from dvt.evaluation.probes.window_head import BatchNormHead, train_head
from dvt.evaluation.probes.windowed import Windowed
from dvt.evaluation.task import Scores
from dvt.evaluation.tasks.layouts import in_layouts
from dvt.evaluation.tasks.summary import AACC, MACC, MIOU, Counted, scores_of
from dvt.images.resize import resize
from dvt.methods.cache import without_cache
from dvt.methods.method import Method
from dvt.progress import Reporter
from dvt.shapes import ImageTensor


@dataclass(frozen=True, slots=True, eq=False)
class Heads:
    """What was learnt from some training pictures."""

    each: Sequence[BatchNormHead]
    """One per seed."""
    classes: frozenset[int]
    """Those that were in the crops."""


class WindowProtocol:
    """Training and test of one head per seed; features are made as they are needed, and none is kept."""

    def __init__(self, config: LinearSegmentationConfig, data: SegmentationData):
        """With the data found.

        Args:
            config: options.
            data: labelled pictures.
        """
        self._config, self._windows, self._data = config, config.windows, data
        self.metrics = tuple(metric_in(metric, layout) for layout in config.layouts for metric in (MIOU, MACC, AACC))
        options = {key: value for key, value in asdict(config.windows).items() if key != "num_workers"}
        self.about = {**data.about, "layouts": [layout.value for layout in config.layouts], **options}

    def evaluate(self, method: Method, reporter: Reporter) -> Scores:
        """Train and test in every layout.

        Args:
            method: makes the features; where they are kept on disk, those of the training crops are not.
            reporter: shows the progress.
        """
        for_crops, for_tests = (Windowed(each, self._windows.size) for each in (without_cache(method), method))

        def train(samples: Sequence[Sample]) -> Heads:
            runs = [
                train_head(for_crops, samples, self._data.num_classes, self._windows, seed, reporter)
                for seed in range(self._config.seeds)
            ]
            return Heads([head for head, _ in runs], frozenset.union(*(classes for _, classes in runs)))

        values: dict[str, Sequence[float]] = {}
        counted: list[Counted] = []
        for layout, heads, test in in_layouts(self._data, self._config.layouts, train):
            runs = self._count(for_tests, heads.each, test, reporter)
            values[metric_in(MIOU, layout).name] = [run.mean_iou for run in runs]
            values[metric_in(MACC, layout).name] = [run.mean_accuracy for run in runs]
            values[metric_in(AACC, layout).name] = [run.accuracy for run in runs]
            counted.append(Counted(layout=layout, unit="pixels", confusions=runs, trained=heads.classes))
        return scores_of(values, counted, self._data.class_names)

    def _count(
        self, windowed: Windowed, heads: Sequence[BatchNormHead], samples: Sequence[Sample], reporter: Reporter
    ) -> list[Confusion]:
        runs = [Confusion(self._data.num_classes) for _ in heads]
        reporter.start(len(samples), "images", "test windows")
        for number in range(len(samples)):
            sample = samples[number]
            height, width = sample.target.shape
            for logits, run in zip(picture_logits(windowed, heads, sample.picture, self._windows), runs, strict=True):
                at_labels = functional.interpolate(logits[None], (height, width), mode="bilinear", align_corners=False)
                run.add(sample.target, winners(at_labels[0]))
            reporter.advance()
        return runs


@torch.no_grad()
def picture_logits(
    windowed: Windowed, heads: Sequence[BatchNormHead], picture: ImageTensor, config: WindowsConfig
) -> list[Tensor]:
    """Class scores of every pixel, the mean over the windows that it is in.

    Args:
        windowed: a method at windows.
        heads: they share the features.
        picture: (3, y, x) RGB in [0, 1].
        config: size of the picture and the windows.

    Returns:
        Per head (K, height, width), at the size that the picture was resized to.
    """
    height, width = scaled_hw(picture, config.short_side, config.long_side)
    picture = resize(picture, (height, width)).clamp(0, 1)
    rows, columns = min(height, config.size), min(width, config.size)
    tops, lefts = (_starts(length, config.size, config.stride) for length in (height, width))
    sums: list[Tensor] = []
    views = torch.zeros(height, width)
    for top in tops:  # the windows of a row at a time: memory does not grow with the height
        windows = [picture[:, top : top + rows, left : left + columns] for left in lefts]
        features = windowed(windows)
        views[top : top + rows] += _covered(lefts, columns, width)
        if not sums:
            device = features.patches.device
            sums = [torch.zeros(head.linear.out_features, height, width, device=device) for head in heads]
        for head, total in zip(heads, sums, strict=True):
            logits = windowed.at_pixels(head(features.patches), features.grid, rows, columns)
            for left, window in zip(lefts, logits, strict=True):
                total[:, top : top + rows, left : left + columns] += window
    return [total / views.to(total) for total in sums]


def _starts(length: int, size: int, stride: int) -> list[int]:
    """Where windows begin: one every stride, the last one at the end."""
    if length <= size:
        return [0]
    return [min(number * stride, length - size) for number in range(math.ceil((length - size) / stride) + 1)]


def _covered(starts: Sequence[int], size: int, length: int) -> Tensor:
    """(length,) in how many windows every pixel is."""
    covered = torch.zeros(length)
    for start in starts:
        covered[start : start + size] += 1
    return covered
