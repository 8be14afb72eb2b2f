"""KnnSegmentation: are the patches of a class alike across pictures? Nothing is trained."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from dvt.errors import EvaluationError
from dvt.evaluation.config.segmentation import KnnSegmentationConfig
from dvt.evaluation.datasets.samples import Sample
from dvt.evaluation.datasets.segmentation import find_data
from dvt.evaluation.patches import class_shares, features_and_targets
from dvt.evaluation.task import Scores
from dvt.evaluation.tasks.patchwise import Labellers, patch_metrics, patch_protocol, score_patches, squashed_hw
from dvt.grid import PatchGrid
from dvt.methods.method import Method
from dvt.progress import SILENT, Reporter
from dvt.shapes import FeatureMap, FeatureMaps, Tokens

_MOST_SIMILARITIES = 2**25
"""Cosines that are held at once: 128 MiB."""


@dataclass(frozen=True, slots=True, eq=False)
class CentroidBank:
    """Class centroids of the training pictures, and their votes."""

    centroids: Tokens
    """(N, C), of length 1: of every training picture one per class that is in it."""
    classes: Tensor
    """(N,) int64, their classes."""
    num_classes: int
    """K."""
    neighbours: int
    """How many of them vote."""
    temperature: float
    """A vote counts exp(cosine / temperature)."""

    def __call__(self, maps: FeatureMaps) -> Tensor:
        """(B, H, W, C) features to (B, H, W, K) shares of the votes, which add up to 1."""
        tokens = functional.normalize(maps.flatten(0, 2), dim=1)
        centroids, classes = self.centroids.to(tokens), self.classes.to(tokens.device)
        votes = [
            self._votes(some @ centroids.T, classes)
            for some in torch.split(tokens, max(1, _MOST_SIMILARITIES // len(centroids)))
        ]
        return torch.cat(votes).reshape(*maps.shape[:3], self.num_classes)

    def _votes(self, cosines: Tensor, classes: Tensor) -> Tensor:
        nearest = cosines.topk(min(self.neighbours, cosines.shape[1]), dim=1)
        weights = (nearest.values / self.temperature).softmax(dim=1)
        return (
            torch.zeros(len(cosines), self.num_classes).to(cosines).scatter_add_(1, classes[nearest.indices], weights)
        )


class KnnSegmentation:
    """Semantic segmentation by the nearest class centroids of the training pictures, as in the paper's ablation.

    Attributes:
        name: knn_segmentation.
        metrics: mIoU first; in layouts other than the usual one their names end with the layout's.
        protocol: how it is measured.
    """

    name = "knn_segmentation"

    def __init__(self, config: KnnSegmentationConfig, data: Path):
        """Find and check the data.

        Args:
            config: options.
            data: folder of the data set.

        Raises:
            ConfigError: options that do not go together.
            EvaluationError: files are missing or do not pair.
        """
        self._config, self._data = config, find_data(config, data)
        self.metrics = patch_metrics(config.layouts)
        more = {"neighbours": config.neighbours, "similarity": "cosine", "temperature": config.temperature}
        self.protocol = patch_protocol(self._data, config, **more)

    def evaluate(self, method: Method, reporter: Reporter = SILENT) -> Scores:
        """Fill a bank with the training pictures, and label the test pictures by it.

        Args:
            method: makes the features.
            reporter: shows the progress.

        Returns:
            For every metric one value, in percent.

        Raises:
            GeometryError: the image size does not fit the patches of the method.
            ImageError: a picture cannot be read.
            EvaluationError: labels cannot be read or do not fit; features are not finite; no label to learn from.
        """

        def fill(samples: Sequence[Sample]) -> Labellers:
            bank = self._bank(method, samples, reporter)
            return Labellers([bank], frozenset(bank.classes.tolist()))

        return score_patches(method, self._data, self._config, fill, reporter)

    def _bank(self, method: Method, samples: Sequence[Sample], reporter: Reporter) -> CentroidBank:
        config, num_classes = self._config, self._data.num_classes
        centroids, classes = [], []
        for features, targets in features_and_targets(method, samples, squashed_hw(config), reporter):
            for patches, target in zip(features.patches, targets, strict=True):
                found, numbers = class_centroids(patches, target, features.grid, num_classes)
                centroids.append(functional.normalize(found, dim=1).cpu())
                classes.append(numbers.cpu())
        bank, numbers = torch.cat(centroids), torch.cat(classes)
        if not len(numbers):
            raise EvaluationError(f"none of {len(samples)} training pictures has a labelled pixel. Give more of them.")
        return CentroidBank(bank, numbers, num_classes, config.neighbours, config.temperature)


def class_centroids(patches: FeatureMap, labels: Tensor, grid: PatchGrid, num_classes: int) -> tuple[Tokens, Tensor]:
    """The mean feature of every class in a picture: every pixel of the class counts the feature of its patch.

    Args:
        patches: (H, W, C) features.
        labels: (y, x) int64 classes, -1 for none.
        grid: the patches.
        num_classes: K.

    Returns:
        (N, C) centroids of the classes that occur, and (N,) which classes those are.
    """
    shares = class_shares(labels, grid, num_classes)[:num_classes].flatten(1).to(patches)
    pixels = shares.sum(dim=1)
    occurs = pixels > 0
    return shares[occurs] @ patches.flatten(0, 1) / pixels[occurs, None], occurs.nonzero()[:, 0]
