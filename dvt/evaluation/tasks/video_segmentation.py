"""Semi-supervised video object segmentation: features carry the first mask of a video to the other frames."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from dvt.errors import EvaluationError
from dvt.evaluation.config.video import VideoSegmentationConfig
from dvt.evaluation.datasets.davis import VideoSequence, find_sequences
from dvt.evaluation.datasets.masks import MOST_NUMBERS, VOID, ObjectMask, read_mask
from dvt.evaluation.metrics_masks import boundary_measure, region_similarity
from dvt.evaluation.patches import features_of, fitting_hw, mean_over_patches, upsample
from dvt.evaluation.probes.label_propagation import LabelPropagation
from dvt.evaluation.task import Metric, Scores
from dvt.grid import PatchGrid, image_hw
from dvt.images.read import read_image
from dvt.methods.method import Method
from dvt.progress import SILENT, Reporter
from dvt.shapes import ImageTensor

SHORT_SIDE = 240
"""Short side of frames in pixels where `image_size` is left out."""

Labels = npt.NDArray[np.int64]
"""(y, x): 0 background, k the k-th object of the first mask."""


class VideoSegmentation:
    """How well the features of a frame find the objects of the first frame again (DINO's protocol on DAVIS)."""

    name = "video_segmentation"
    metrics = (
        Metric("J&F", "%", True, "Mean of J and F."),
        Metric("J", "%", True, "Intersection over union with the true mask, over frames, then over objects (DAVIS)."),
        Metric("F", "%", True, "F-measure of boundary pixels within 0.8% of the diagonal, averaged likewise (DAVIS)."),
    )

    def __init__(self, config: VideoSegmentationConfig, data: Path):
        """Find the sequences below the folder `data`, and read their first masks.

        Raises:
            ConfigError: an invalid image size.
            EvaluationError: data are missing, or a first mask is empty.
        """
        self._config = config
        if config.image_size is not None:
            image_hw(config.image_size)
        self._sequences, self._source = find_sequences(data, config.sequences, config.max_frames)
        self._objects = {each.name: objects_to_follow(read_mask(each.masks[0])) for each in self._sequences}
        self._num_scored = sum(len(sequence.masks) - 1 for sequence in self._sequences)

    @property
    def protocol(self) -> dict[str, Any]:
        """How it is measured."""
        return {
            **asdict(self._config),
            "image_size": SHORT_SIDE if self._config.image_size is None else self._config.image_size,
            "sequences": [sequence.name for sequence in self._sequences],
            "sequences_from": self._source,
            "objects": sum(map(len, self._objects.values())),
            "scored_frames": self._num_scored,
            "scored": "all frames but the first and the last",
        }

    def evaluate(self, method: Method, reporter: Reporter = SILENT) -> Scores:
        """Propagate the first masks through all sequences and score the other frames; every metric has one value."""
        reporter.start(self._num_scored, "frames", method.name)
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
        """J and F of a sequence and of each of its objects in %, and values in masks that are no object."""
        objects = self._objects[sequence.name]
        measured: dict[int, list[tuple[float, float]]] = {number: [] for number in objects}
        unknown: set[int] = set()
        for frame, labels in enumerate(self._track(sequence, method), start=1):
            mask = _mask_of(sequence, frame, (labels.shape[0], labels.shape[1]))
            unknown |= set(np.unique(mask.values).tolist()) - {0, VOID, *objects}
            for place, number in enumerate(objects, start=1):
                found, true = labels == place, mask.values == number
                measured[number].append((region_similarity(found, true), boundary_measure(found, true)))
            reporter.advance()
        by_object = {
            str(number): {"J": 100 * fmean(j for j, _ in each), "F": 100 * fmean(f for _, f in each)}
            for number, each in measured.items()
        }
        means = {name: fmean(each[name] for each in by_object.values()) for name in ("J", "F")}
        return {**means, "scored_frames": len(sequence.frames) - 1, "objects": by_object}, unknown

    def _track(self, sequence: VideoSequence, method: Method) -> Iterator[Labels]:
        """The labels of all frames but the first, at the size of the frames, one frame after the other.

        In memory are the features of a batch of frames, of the first frame and of the last few.
        """
        hw = (*read_image(sequence.frames[0]).shape[1:],)
        first_mask = _mask_of(sequence, 0, hw)
        size = fitting_hw(method, resized_hw(hw, self._config), larger=False)
        propagation: LabelPropagation | None = None
        for features in features_of(method, _frames(sequence, hw), len(sequence.frames), size, SILENT):
            for patches in features.patches:
                if propagation is None:
                    labels = patch_labels(first_mask, self._objects[sequence.name], features.grid).to(patches)
                    propagation = LabelPropagation(patches, labels, self._config)
                else:
                    shares = upsample(propagation.step(patches)[None], features.grid, hw)[0]
                    yield shares.argmax(dim=-1).cpu().numpy()


def objects_to_follow(first: ObjectMask) -> tuple[int, ...]:
    """The numbers of the objects in the first mask of a sequence.

    Raises:
        EvaluationError: there is none, or too many to be a mask.
    """
    found = first.numbers
    if not found:
        raise EvaluationError(
            f"{first.path}, the first mask of its sequence, is empty: there is nothing to follow. Expected the objects"
            " in it; leave the sequence out with sequences=[...]."
        )
    if len(found) > MOST_NUMBERS:
        raise EvaluationError(
            f"{first.path} has {len(found)} different values besides 0 and 255. Expected one number per object (at"
            f" most {MOST_NUMBERS} objects), or 0 and 255; was it resized or saved as JPEG?"
        )
    return found


def resized_hw(hw: tuple[int, int], config: VideoSegmentationConfig) -> tuple[int, int]:
    """The size that frames of height and width `hw` are resized to, before it is rounded to the patch."""
    wanted = SHORT_SIDE if config.image_size is None else config.image_size
    if not isinstance(wanted, int):
        return image_hw(wanted)
    height, width = hw
    short = min(height, width)
    return height * wanted // short, width * wanted // short


def patch_labels(mask: ObjectMask, objects: tuple[int, ...], grid: PatchGrid) -> Tensor:
    """(H, W, 1 + objects) share of every patch that belongs to the background and to each object."""
    covered = torch.from_numpy(np.stack([mask.values == number for number in objects])).float()
    pixels = functional.interpolate(covered[None], grid.image_hw, mode="area")
    shares = mean_over_patches(pixels[0], grid).permute(1, 2, 0)
    return torch.cat([1 - shares.sum(dim=-1, keepdim=True), shares], dim=-1)


def _mask_of(sequence: VideoSequence, number: int, hw: tuple[int, int]) -> ObjectMask:
    """The mask of a frame, checked to have the size of the frames."""
    mask = read_mask(sequence.masks[number])
    mask.check_hw(hw, f"the frames of {sequence.name} have", sequence.frames[number])
    return mask


def _frames(sequence: VideoSequence, hw: tuple[int, int]) -> Iterator[ImageTensor]:
    for path in sequence.frames:
        frame = read_image(path)
        if (*frame.shape[1:],) != hw:
            raise EvaluationError(
                f"{path} has {frame.shape[1]} x {frame.shape[2]} px, the first frame of {sequence.name} has"
                f" {hw[0]} x {hw[1]}. All frames of a sequence must have the same size."
            )
        yield frame
