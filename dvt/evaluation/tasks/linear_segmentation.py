"""LinearSegmentation: how well a linear probe on frozen features separates the classes."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import torch

from dvt.errors import ConfigError
from dvt.evaluation.config.segmentation import DatasetName, LinearProtocol, LinearSegmentationConfig
from dvt.evaluation.datasets.samples import Sample
from dvt.evaluation.datasets.segmentation import SegmentationData, find_data
from dvt.evaluation.patches import features_and_targets, majority_labels
from dvt.evaluation.probes.patch_probe import train_probe
from dvt.evaluation.task import Metric, Scores
from dvt.evaluation.tasks.patchwise import Labellers, patch_metrics, patch_protocol, score_patches, squashed_hw
from dvt.evaluation.tasks.windows import WindowProtocol
from dvt.methods.method import Method
from dvt.progress import SILENT, Reporter


class _Measured(Protocol):
    """One of the two protocols."""

    metrics: tuple[Metric, ...]
    about: dict[str, Any]

    def evaluate(self, method: Method, reporter: Reporter) -> Scores: ...


class LinearSegmentation:
    """Semantic segmentation by a linear probe on frozen features.

    Attributes:
        name: linear_segmentation.
        metrics: mIoU first; in layouts other than the usual one their names end with the layout's.
        protocol: how it is measured.
    """

    name = "linear_segmentation"

    def __init__(self, config: LinearSegmentationConfig, data: Path):
        """Find and check the data.

        Args:
            config: options.
            data: folder of the data set.

        Raises:
            ConfigError: options that do not go together.
            EvaluationError: files are missing or do not pair.
        """
        found = find_data(config, data)
        self._measured: _Measured
        if _protocol(config) is LinearProtocol.patches:
            self._measured = PatchProtocol(config, found)
        else:
            if config.image_size is not None:
                raise ConfigError(
                    f"image_size={config.image_size} does nothing with protocol=windows: give windows.size,"
                    " windows.stride and windows.short_side, or protocol=patches."
                )
            self._measured = WindowProtocol(config, found)
        self.metrics = self._measured.metrics
        self.protocol = {"protocol": str(_protocol(config)), **self._measured.about, "seeds": config.seeds}

    def evaluate(self, method: Method, reporter: Reporter = SILENT) -> Scores:
        """Train probes on the features of a method, and test them.

        Args:
            method: makes the features.
            reporter: shows the progress.

        Returns:
            For every metric one value per seed, in percent.

        Raises:
            GeometryError: the image size does not fit the patches of the method.
            ImageError: a picture cannot be read.
            EvaluationError: labels cannot be read or do not fit; features are not finite; nothing to train on.
        """
        return self._measured.evaluate(method, reporter)


class PatchProtocol:
    """Softmax regression on the patches of whole pictures; memory 4 N H W C bytes for N training pictures."""

    def __init__(self, config: LinearSegmentationConfig, data: SegmentationData):
        """With the data found.

        Args:
            config: options.
            data: labelled pictures.

        Raises:
            ConfigError: `image_size` is neither one number nor two.
        """
        self._config, self._data = config, data
        self.metrics = patch_metrics(config.layouts)
        self.about = patch_protocol(data, config, **asdict(config.patches))

    def evaluate(self, method: Method, reporter: Reporter) -> Scores:
        """Train a probe per seed, and test them all on the same features."""

        def train(samples: Sequence[Sample]) -> Labellers:
            return self._train(method, samples, reporter)

        return score_patches(method, self._data, self._config, train, reporter)

    def _train(self, method: Method, samples: Sequence[Sample], reporter: Reporter) -> Labellers:
        num_classes, seeds = self._data.num_classes, self._config.seeds
        maps, majority = [], []
        for features, targets in features_and_targets(method, samples, squashed_hw(self._config), reporter):
            maps.append(features.patches.cpu())
            majority += [majority_labels(target, features.grid, num_classes) for target in targets]
        tokens, labels = torch.cat(maps).flatten(0, 2), torch.stack(majority).flatten()
        probes = []
        reporter.start(seeds, "probes", f"{method.name} probes")
        for seed in range(seeds):
            probes.append(train_probe(tokens, labels, num_classes, self._config.patches, seed))
            reporter.advance()
        return Labellers(probes, frozenset(labels[labels >= 0].tolist()))


def _protocol(config: LinearSegmentationConfig) -> LinearProtocol:
    if config.protocol is not None:
        return config.protocol
    return LinearProtocol.patches if config.dataset is DatasetName.camvid else LinearProtocol.windows
