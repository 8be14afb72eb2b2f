"""VideoSegmentation: the task."""

from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from dvt.backbone.load import image_hw
from dvt.evaluation.masks import VOID, read_mask
from dvt.evaluation.task import Metric, Scores
from dvt.evaluation.video.config import VideoSegmentationConfig
from dvt.evaluation.video.davis import VideoSequence, find_sequences
from dvt.evaluation.video.metrics import boundary_measure, region_similarity
from dvt.evaluation.video.track import SHORT_SIDE, mask_of_size, objects_to_follow, track
from dvt.methods.method import Method
from dvt.progress import SILENT, Reporter


class VideoSegmentation:
    """How well the features of a frame find the objects of the first frame again (DINO's protocol on DAVIS)."""

    name = "video_segmentation"
    metrics = (
        Metric("J&F", "%", True, "Mean of J and F."),
        Metric("J", "%", True, "Intersection over union with the true mask, over frames, then over objects (DAVIS)."),
        Metric("F", "%", True, "F-measure of boundary pixels within 0.8% of the diagonal, averaged likewise (DAVIS)."),
    )

    def __init__(self, config: VideoSegmentationConfig, data: Path):
        """Find the sequences; frames and masks are read later, first masks now.

        Args:
            config: the task.
            data: folder of the data set.

        Raises:
            ConfigError: an image size that is none.
            EvaluationError: data are missing, or a first mask is empty.
        """
        self._config = config
        if config.image_size is not None:
            image_hw(config.image_size)
        self._sequences, self._source = find_sequences(data, config.sequences, config.max_frames)
        self._objects = {each.name: objects_to_follow(read_mask(each.masks[0])) for each in self._sequences}

    @property
    def protocol(self) -> dict[str, Any]:
        """How it is measured."""
        return {
            **asdict(self._config),
            "image_size": SHORT_SIDE if self._config.image_size is None else self._config.image_size,
            "sequences": [sequence.name for sequence in self._sequences],
            "sequences_from": self._source,
            "objects": sum(map(len, self._objects.values())),
            "scored_frames": sum(len(sequence.masks) - 1 for sequence in self._sequences),
            "scored": "all frames but the first and the last",
        }

    def evaluate(self, method: Method, reporter: Reporter = SILENT) -> Scores:
        """Carry the first masks of all sequences on, and score those of the other frames.

        Args:
            method: makes the features.
            reporter: shows the progress.

        Raises:
            EvaluationError: a frame or a mask does not fit the others of its sequence.
            ImageError: a frame cannot be read.
        """
        total = sum(len(sequence.frames) for sequence in self._sequences)
        reporter.start(total, "frames", f"{method.name} frames")
        details: dict[str, Any] = {}
        notes: list[str] = []
        for sequence in self._sequences:
            details[sequence.name], unknown = self._scored(sequence, method, reporter)
            if unknown:
                listed = ", ".join(map(str, sorted(unknown)))
                notes.append(f"{sequence.name}: later masks hold {listed}, which the first does not; not scored.")
        objects = [each for sequence in details.values() for each in sequence["objects"].values()]
        region, contour = (fmean(each[name] for each in objects) for name in ("J", "F"))
        return Scores(
            values={"J&F": ((region + contour) / 2,), "J": (region,), "F": (contour,)},
            notes=tuple(notes),
            details=details,
        )

    def _scored(self, sequence: VideoSequence, method: Method, reporter: Reporter) -> tuple[dict[str, Any], set[int]]:
        """J and F of a sequence and of each of its objects in %, and values of masks that are no object."""
        objects = self._objects[sequence.name]
        measured: dict[int, list[tuple[float, float]]] = {number: [] for number in objects}
        unknown: set[int] = set()
        for frame, labels in enumerate(track(sequence, objects, method, self._config, reporter), start=1):
            mask = mask_of_size(sequence, frame, (labels.shape[0], labels.shape[1]))
            unknown |= set(np.unique(mask.values).tolist()) - {0, VOID, *objects}
            for place, number in enumerate(objects, start=1):
                found, true = labels == place, mask.of(number)
                measured[number].append((region_similarity(found, true), boundary_measure(found, true)))
        by_object = {
            str(number): {"J": 100 * fmean(j for j, _ in each), "F": 100 * fmean(f for _, f in each)}
            for number, each in measured.items()
        }
        means = {name: fmean(each[name] for each in by_object.values()) for name in ("J", "F")}
        return {**means, "scored_frames": len(sequence.frames) - 1, "objects": by_object}, unknown
