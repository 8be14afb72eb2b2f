"""Detection: how well a detector that is trained on frozen features finds objects."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dvt.errors import EvaluationError
from dvt.evaluation.config.detection import DetectionConfig
from dvt.evaluation.config.layout import Layout
from dvt.evaluation.config.objects import DataFormat
from dvt.evaluation.datasets.boxed_images import TrueBoxes, find_boxed_images, read_boxes
from dvt.evaluation.datasets.scenes import Scene, few
from dvt.evaluation.layouts import in_layouts, metrics_in
from dvt.evaluation.metrics_boxes import average_precision, require_detection_packages
from dvt.evaluation.patches import BATCH_SIZE, finite_features
from dvt.evaluation.probes.detector import Detections, Detector
from dvt.evaluation.probes.detector_training import train_detector, training_features
from dvt.evaluation.probes.feature_pyramid import check_cells
from dvt.evaluation.task import Metric, Scores
from dvt.grid import image_hw
from dvt.methods.method import Method
from dvt.progress import SILENT, Reporter

_METRICS = (
    Metric(
        "mAP",
        "%",
        True,
        "Average precision of boxes, mean over classes and the IoU thresholds 0.5, 0.55, ..., 0.95 (COCO).",
    ),
    Metric("mAP50", "%", True, "Average precision of boxes at the IoU threshold 0.5, mean over classes."),
)


class Detection:
    """Boxes by Faster R-CNN with ViTDet's feature pyramid on frozen features (DVT paper, section 5.2).

    Attributes:
        name: detection.
        metrics: mAP first; names end with the layout, except for the usual one.
    """

    name = "detection"

    def __init__(self, config: DetectionConfig, data: Path):
        """Find the images in the folder `data`; they are read later.

        Raises:
            ConfigError: a package is missing, an invalid image size, or a split without training or test images.
            EvaluationError: data are missing or have no boxes.
        """
        require_detection_packages()
        self._config = config
        self._size = image_hw(config.image_size)
        self._data = find_boxed_images(config, data)
        self.metrics = metrics_in(_METRICS, config.layouts)

    @property
    def protocol(self) -> dict[str, Any]:
        """How it measures."""
        config, data = self._config, self._data
        about: dict[str, Any] = {"format": data.format.value}
        if data.format is DataFormat.davis:
            for which, scenes in (("train", data.train), ("test", data.test)):
                about[f"{which}_sequences"] = list(dict.fromkeys(scene.group for scene in scenes))
            about["every"] = config.every
        else:
            about |= {"train_split": config.train_split, "test_split": config.test_split}
        names = ("mirrored", "num_steps", "batch_size", "learning_rate", "warmup_steps", "weight_decay", "seeds")
        return {
            **about,
            "classes": len(data.class_names),
            "train_images": len(data.train),
            "test_images": len(data.test),
            "image_size": list(self._size),
            "layouts": [layout.value for layout in config.layouts],
            **{name: getattr(config, name) for name in names},
            "detector": asdict(config.detector),
        }

    def evaluate(self, method: Method, reporter: Reporter = SILENT) -> Scores:
        """Train a detector per seed and score each on the test images, in every layout.

        Raises:
            GeometryError: the size does not fit the patch.
            ConfigError: the method has a number of cells per patch that the pyramid does not take.
            EvaluationError: files cannot be read, a box is outside of its image, or no image has a box.
        """
        config, classes = self._config, self._data.class_names
        check_cells(method.grid_for(self._size).fine)

        def fit(layout: Layout) -> tuple[list[Detector], Sequence[str]]:
            features = training_features(method, self._data.train, classes, self._size, config, reporter)
            reporter.start(config.seeds * config.num_steps, "steps", f"{method.name} detectors")
            found = [train_detector(features, len(classes), config, seed, reporter) for seed in range(config.seeds)]
            learned = {int(label) for each in features.truth for label in each.labels[~each.ignored]}
            unknown = [name for number, name in enumerate(classes) if number not in learned]
            what = "no training image has a box of these classes, so that none can be found:"
            return found, [f"{what} {few(unknown, 5)}"] if unknown else []

        def score(detectors: list[Detector], layout: Layout) -> Scores:
            return self._score(detectors, method, upside_down=layout is Layout.upside_down, reporter=reporter)

        return in_layouts(config.layouts, fit, score)

    def _score(self, detectors: Sequence[Detector], method: Method, *, upside_down: bool, reporter: Reporter) -> Scores:
        """The average precision of every detector; they share the features."""
        scenes, classes = self._data.test, self._data.class_names
        truth: list[TrueBoxes] = []
        found: list[list[Detections]] = [[] for _ in detectors]
        reporter.start(len(scenes), "images", f"{method.name} test features")
        for start in range(0, len(scenes), BATCH_SIZE):
            images, batch = [], []
            for scene in scenes[start : start + BATCH_SIZE]:
                image, boxes = read_boxes(scene, classes)
                images.append(image.flip(1).contiguous() if upside_down else image)
                batch.append(boxes.upside_down() if upside_down else boxes)
            maps = finite_features(method, images, self._size).patches
            for detector, of_seed in zip(detectors, found, strict=True):
                of_seed.extend(detector.detect(maps, [boxes.hw for boxes in batch]))
            truth += batch
            reporter.advance(len(batch))
        num_boxes = sum(int((~each.ignored).sum()) for each in truth)
        if not num_boxes:
            raise EvaluationError(f"none of the {len(scenes)} test images has an object: there is nothing to score.")
        scores = [average_precision(each, truth, classes) for each in found]
        names = [name for name in classes if any(name in each.by_class for each in scores)]
        return Scores(
            values={
                "mAP": tuple(100 * each.mean for each in scores),
                "mAP50": tuple(100 * each.mean_50 for each in scores),
            },
            notes=(f"{num_boxes} true boxes in {len(scenes)} test images{self._of_videos(scenes)}",),
            details={"mAP by class": {name: [100 * each.by_class.get(name, 0.0) for each in scores] for name in names}},
        )

    @staticmethod
    def _of_videos(scenes: Sequence[Scene]) -> str:
        videos = {scene.group for scene in scenes if scene.group}
        if not videos:
            return ""
        return (
            f" of {len(videos)} videos: frames of one video are alike, and ± over the seeds of the detector does not"
            " contain the choice of videos"
        )
