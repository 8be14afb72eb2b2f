"""The artifact scores of a method, as a task."""

from collections.abc import Sequence
from math import isnan
from pathlib import Path
from typing import Any

from dvt.backbone.load import image_hw
from dvt.diagnosis.config import ArtifactScoresConfig
from dvt.diagnosis.diagnose import fill_meters
from dvt.diagnosis.scores import ArtifactMeter, ArtifactReport
from dvt.diagnosis.windows import choose_images
from dvt.evaluation.task import Metric, Scores
from dvt.images.sources import find_images
from dvt.methods.method import Method
from dvt.progress import SILENT, Reporter

METRICS = (
    Metric("position share", "", False, "Share of token variance that position explains, over random crops and flips."),
    Metric("shift error", "", False, "Squared difference of tokens on the same content seen from two windows, normed."),
    Metric("shift locked", "", False, "Share of that difference that is the same in all pictures."),
    Metric("upright share", "", None, "Position share of whole pictures as taken: artifact and photographers' layout."),
    Metric("position R2", "", None, "R^2 of a linear probe from a token to its position, on unseen pictures."),
    Metric("MIC", "", None, "Position score of the DVT paper (s. 5.1): largest MIC of a channel with x and with y."),
    Metric(
        "outliers", "", False, "Share of tokens with a norm above median + 6 robust deviations and twice the median."
    ),
    Metric("low frequency", "", None, "Share of the position-locked pattern in the lowest frequencies: 1 for a ramp."),
)
"""Main one first. A low score alone can be had by destroying features: look at it beside a task with labels."""


class ArtifactScores:
    """Scores features of pictures without labels: how much belongs to the position on the patch grid.

    Costs three views of each picture and seed.
    """

    name = "artifact_scores"
    metrics = METRICS

    def __init__(self, config: ArtifactScoresConfig, images: str | Path | Sequence[str | Path]):
        """Find the pictures.

        Args:
            config: the options.
            images: a folder, a glob, or a list of pictures.

        Raises:
            ImageError: there are none, or too few.
            ConfigError: an image size that is none.
        """
        self._config = config
        self._image_hw = image_hw(config.image_size)
        self._images = find_images(images)
        self._count = len(choose_images(self._images, config.num_images, 0))

    @property
    def protocol(self) -> dict[str, Any]:
        """How it is measured."""
        return {
            "pictures": f"{self._count} of {len(self._images)}, drawn anew for every seed",
            "image_size": list(self._image_hw),
            "windows": "two of each, a third of the grid apart, from a random crop, mirrored and upside down by chance",
            "seeds": self._config.seeds,
        }

    def evaluate(self, method: Method, reporter: Reporter = SILENT) -> Scores:
        """Score a method.

        Raises:
            ImageError: a picture cannot be read.
            GeometryError: the image size does not fit the patches.
            EvaluationError: features that are not finite.
        """
        seeds = range(self._config.seeds)
        reporter.start(self._config.seeds * self._count, "images", f"{method.name} features")
        reports = [self._report(method, seed, reporter) for seed in seeds]
        values = [report.numbers() for report in reports]
        metrics = {metric.name: tuple(each[metric.name] for each in values) for metric in self.metrics}
        notes = [
            f"{name}: no value where features do not vary, or no pattern is locked to the position"
            for name, scores in metrics.items()
            if any(isnan(score) for score in scores)
        ]
        return Scores(values=metrics, notes=tuple(notes), details={"maps of seed 0": reports[0].to_json()["maps"]})

    def _report(self, method: Method, seed: int, reporter: Reporter) -> ArtifactReport:
        images = choose_images(self._images, self._config.num_images, seed)
        meter = ArtifactMeter(method.name, len(images), seed=seed)
        fill_meters(
            [meter],
            lambda views: [method(views, self._image_hw).patches],
            method.grid_for(self._image_hw),
            images,
            seed=seed,
            reporter=reporter,
        )
        return meter.result()
