"""ArtifactScores: how much of the features belongs to the position on the patch grid. No labels are needed."""

from collections.abc import Sequence
from math import isnan
from pathlib import Path
from typing import Any

from dvt.diagnosis.config import BATCH_SIZE, ArtifactScoresConfig
from dvt.diagnosis.diagnose import fill_meters
from dvt.diagnosis.scores import SCORES, ArtifactMeter
from dvt.diagnosis.windows import choose_images
from dvt.evaluation.task import Metric, Scores
from dvt.grid import image_hw
from dvt.images.sources import find_images
from dvt.methods.method import Method
from dvt.progress import SILENT, Reporter

_SHOWN = (
    "position share", "shift error", "shift locked", "upright share", "position R2", "MIC", "outliers", "low frequency",
)  # fmt: skip
"""Columns, the main metric first."""


class ArtifactScores:
    """Scores features without labels: how much belongs to the position on the patch grid.

    A low score alone can be had by destroying features: compare with a task that has labels. Costs three views per
    image and seed.
    """

    name = "artifact_scores"
    metrics = tuple(
        Metric(name, "", False if SCORES[name].lower_is_better else None, SCORES[name].meaning) for name in _SHOWN
    )

    def __init__(self, config: ArtifactScoresConfig, images: str | Path | Sequence[str | Path]):
        """Find the images: a folder, a glob, or a list.

        Raises:
            ImageError: there are none, or too few.
            ConfigError: an invalid image size.
        """
        self._config = config
        self._image_hw = image_hw(config.image_size)
        self._images = find_images(images)
        self._count = len(choose_images(self._images, config.num_images, 0).images)

    @property
    def protocol(self) -> dict[str, Any]:
        """How it measures."""
        return {
            "images": f"{self._count} of {len(self._images)}, drawn anew for every seed",
            "image_size": list(self._image_hw),
            "windows": "two of each, a third of the grid apart, from a random crop, flipped at random",
            "seeds": self._config.seeds,
        }

    def evaluate(self, method: Method, reporter: Reporter = SILENT) -> Scores:
        """Score a method.

        Raises:
            ImageError: too few images can be read.
            GeometryError: the image size does not fit the patches.
            EvaluationError: features that are not finite.
        """
        grid = method.grid_for(self._image_hw)
        reporter.start(self._config.seeds * self._count, "images", f"{method.name} features")
        reports, failed = [], dict[str, str]()
        for seed in range(self._config.seeds):
            chosen = choose_images(self._images, self._config.num_images, seed)
            failed |= chosen.failed
            meter = ArtifactMeter(method.name, len(chosen.images), seed=seed)
            fill_meters(
                [meter],
                lambda views: [method(views, self._image_hw).patches],
                grid,
                chosen.images,
                seed=seed,
                batch_size=BATCH_SIZE,
                reporter=reporter,
            )
            reports.append(meter.result())
        values = [report.numbers() for report in reports]
        metrics = {metric.name: tuple(each[metric.name] for each in values) for metric in self.metrics}
        notes = [
            f"{name}: no value where features do not vary, or no pattern is locked to the position"
            for name, scores in metrics.items()
            if any(isnan(score) for score in scores)
        ]
        notes += [f"an image is left out: {reason}" for reason in failed.values()]
        return Scores(values=metrics, notes=tuple(notes), details={"maps of seed 0": reports[0].to_json()["maps"]})
