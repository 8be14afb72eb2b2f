"""Mean average precision of boxes, as COCO counts it (Lin et al. 2014), by torchmetrics."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from dvt.errors import ConfigError
from dvt.evaluation.datasets.boxed_images import TrueBoxes
from dvt.evaluation.probes.detector import Detections

_PACKAGES = ("torchmetrics", "pycocotools")


@dataclass(frozen=True, slots=True)
class AveragePrecision:
    """Average precision in [0, 1]; NaN where no box of the class is annotated."""

    mean: float
    """Mean over classes and the IoU thresholds 0.5, 0.55, ..., 0.95 (mAP)."""
    mean_50: float
    """Mean over classes at the IoU threshold 0.5 (mAP50)."""
    by_class: dict[str, float]
    """By name of the class, the mean over the thresholds."""


def require_detection_packages() -> None:
    """Refuse detection where its packages are missing.

    Raises:
        ConfigError: names them and the extra.
    """
    if missing := [name for name in _PACKAGES if find_spec(name) is None]:
        raise ConfigError(f"detection needs {', '.join(missing)}: pip install 'denoising-vit[detection]'.")


def average_precision(
    found: Sequence[Detections], truth: Sequence[TrueBoxes], class_names: Sequence[str]
) -> AveragePrecision:
    """The average precision over images.

    Ignored boxes are crowds of COCO: a detection that has half of its area in one is neither right nor wrong.

    Args:
        found: of every image.
        truth: of every image.
        class_names: by number of the class.
    """
    from torchmetrics.detection import MeanAveragePrecision

    with warnings.catch_warnings():  # pycocotools and torchmetrics use what newer numpy and torch call deprecated
        warnings.simplefilter("ignore")
        metric = MeanAveragePrecision(box_format="xyxy", class_metrics=True, backend="pycocotools")
        metric.update(
            [each._asdict() for each in found],
            [{"boxes": each.boxes, "labels": each.labels, "iscrowd": each.ignored.long()} for each in truth],
        )
        values = metric.compute()
    numbers, each_class = (values[name].reshape(-1).tolist() for name in ("classes", "map_per_class"))
    return AveragePrecision(
        mean=_known(float(values["map"])),
        mean_50=_known(float(values["map_50"])),
        by_class={class_names[number]: _known(value) for number, value in zip(numbers, each_class, strict=True)},
    )


def _known(value: float) -> float:
    """NaN for the -1 of COCO."""
    return value if value >= 0 else math.nan
