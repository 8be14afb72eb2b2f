"""KnnSegmentation: are the patches of a class alike across images? Nothing is trained."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch.nn import functional

from dvt.errors import EvaluationError
from dvt.evaluation.class_scores import patch_image_hw, score_patches
from dvt.evaluation.config.segmentation import KnnSegmentationConfig
from dvt.evaluation.datasets.segmentation import find_data
from dvt.evaluation.layouts import LaidOut, metrics_in, score_layouts
from dvt.evaluation.metrics import MIOU_PATCHES, MIOU_PIXELS
from dvt.evaluation.patches import features_and_targets
from dvt.evaluation.probes.knn import CentroidBank, class_centroids
from dvt.evaluation.task import Scores
from dvt.methods.method import Method
from dvt.progress import SILENT, Reporter


class KnnSegmentation:
    """Semantic segmentation by the nearest class centroids of the training images, as in the paper's ablation.

    Attributes:
        name: knn_segmentation.
        metrics: mIoU first; names end with the layout, except for the usual one.
        protocol: how it measures.
    """

    name = "knn_segmentation"

    def __init__(self, config: KnnSegmentationConfig, data: Path):
        """Find and check the data set in the folder `data`.

        Raises:
            ConfigError: options that do not go together.
            EvaluationError: files are missing or do not pair.
        """
        self._config, self._data, self._size = config, find_data(config, data), patch_image_hw(config)
        self.metrics = metrics_in((MIOU_PATCHES, MIOU_PIXELS), config.layouts)
        self.protocol = {
            **self._data.about,
            "image_size": list(self._size),
            "layouts": [layout.value for layout in config.layouts],
            "num_neighbours": config.num_neighbours,
            "similarity": "cosine",
            "temperature": config.temperature,
        }

    def evaluate(self, method: Method, reporter: Reporter = SILENT) -> Scores:
        """Fill a bank with the centroids of the training images, and label the test images by it.

        Returns:
            For every metric one value, in percent.

        Raises:
            GeometryError: the image size does not fit the patches of the method.
            ImageError: an image cannot be read.
            EvaluationError: labels cannot be read or do not fit; features are not finite; no label to learn from.
        """

        def fit(samples: LaidOut) -> tuple[CentroidBank, Sequence[str]]:
            return self._bank(method, samples, reporter), ()

        def score(bank: CentroidBank, samples: LaidOut) -> Scores:
            known = frozenset(bank.classes.tolist())
            return score_patches(method, samples, [bank], known, self._data, self._size, reporter)

        return score_layouts(self._config.layouts, self._data.train, self._data.test, fit, score)

    def _bank(self, method: Method, samples: LaidOut, reporter: Reporter) -> CentroidBank:
        config, num_classes = self._config, self._data.num_classes
        centroids, classes = [], []
        for features, targets in features_and_targets(method, samples, self._size, reporter):
            for patches, target in zip(features.patches, targets, strict=True):
                found, numbers = class_centroids(patches, target, features.grid, num_classes)
                centroids.append(functional.normalize(found, dim=1).cpu())
                classes.append(numbers.cpu())
        bank, numbers = torch.cat(centroids), torch.cat(classes)
        if not len(numbers):
            raise EvaluationError(f"none of {len(samples)} training images has a labelled pixel. Give more of them.")
        return CentroidBank(bank, numbers, num_classes, config.num_neighbours, config.temperature)
