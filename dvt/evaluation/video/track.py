"""The objects of the first frame, found again in the others."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from dvt.backbone.load import image_hw
from dvt.errors import EvaluationError
from dvt.evaluation.masks import MOST_NUMBERS, ObjectMask, read_mask
from dvt.evaluation.patches import features_of, fitting_hw, upsample
from dvt.evaluation.video.config import VideoSegmentationConfig
from dvt.evaluation.video.davis import VideoSequence
from dvt.evaluation.video.propagation import LabelPropagation
from dvt.grid import PatchGrid
from dvt.images.read import read_image
from dvt.methods.method import Method
from dvt.progress import Reporter
from dvt.shapes import FeatureMap, ImageTensor

SHORT_SIDE = 240
"""Of a frame as the ViT sees it, in pixels, where nothing else is said."""

Labels = npt.NDArray[np.int64]
"""(y, x): 0 background, k the k-th object of the first mask."""


def track(
    sequence: VideoSequence,
    objects: tuple[int, ...],
    method: Method,
    config: VideoSegmentationConfig,
    reporter: Reporter,
) -> Iterator[Labels]:
    """The objects in all frames but the first, one frame after the other.

    In memory are the features of a batch of frames, of the first frame and of the last few.

    Args:
        sequence: frames, and the mask of the first.
        objects: their numbers in the masks.
        method: makes the features.
        config: how labels are carried on.
        reporter: shows the progress.

    Yields:
        Labels at the size of the frames.

    Raises:
        EvaluationError: the first mask or a frame has another size than the first frame.
        ImageError: a frame cannot be read.
    """
    size = tuple(read_image(sequence.frames[0]).shape[1:])
    hw = (size[0], size[1])
    first_mask = mask_of_size(sequence, 0, hw)
    looked_at = fitting_hw(method, looked_at_hw(hw, config), larger=False)
    frames = _frames(sequence, hw)
    propagation: LabelPropagation | None = None
    for features in features_of(method, frames, len(sequence.frames), looked_at, reporter):
        for patches in features.patches:
            if propagation is None:
                labels = patch_labels(first_mask, objects, features.grid).to(patches)
                propagation = LabelPropagation(patches, labels, config)
            else:
                yield _winners(propagation.step(patches), features.grid, hw)


def objects_to_follow(first: ObjectMask) -> tuple[int, ...]:
    """The numbers of the objects in the first mask of a sequence.

    Raises:
        EvaluationError: there is none, or too many to be a mask.
    """
    found = first.numbers
    if not found:
        raise EvaluationError(
            f"{first.path}, the first mask of its sequence, is empty, so that there is nothing to follow. Expected the"
            " objects in it; leave the sequence out with sequences=[...]."
        )
    if len(found) > MOST_NUMBERS:
        raise EvaluationError(
            f"{first.path} has {len(found)} different values besides 0 and 255. Expected one number per object (at"
            f" most {MOST_NUMBERS} objects), or 0 and 255; was it resized or saved as JPEG?"
        )
    return found


def looked_at_hw(hw: tuple[int, int], config: VideoSegmentationConfig) -> tuple[int, int]:
    """The size that a frame of height and width `hw` should be looked at in, before it is rounded to the patch."""
    wanted = SHORT_SIDE if config.image_size is None else config.image_size
    if not isinstance(wanted, int):
        return image_hw(wanted)
    height, width = hw
    short = min(height, width)
    return height * wanted // short, width * wanted // short


def patch_labels(mask: ObjectMask, objects: tuple[int, ...], grid: PatchGrid) -> Tensor:
    """(H, W, 1 + objects) share of every patch that belongs to the background and to each object."""
    covered = torch.from_numpy(np.stack([mask.of(number) for number in objects])).float()
    pixels = functional.interpolate(covered[None], grid.image_hw, mode="area")
    shares = functional.avg_pool2d(pixels, grid.patch, grid.stride)[0].permute(1, 2, 0)
    return torch.cat([1 - shares.sum(dim=-1, keepdim=True), shares], dim=-1)


def mask_of_size(sequence: VideoSequence, number: int, hw: tuple[int, int]) -> ObjectMask:
    """The mask of a frame.

    Raises:
        EvaluationError: it is not of the size of the frames.
    """
    mask = read_mask(sequence.masks[number])
    mask.check_hw(hw, f"the frames of {sequence.name} have")
    return mask


def _frames(sequence: VideoSequence, hw: tuple[int, int]) -> Iterator[ImageTensor]:
    for path in sequence.frames:
        frame = read_image(path)
        if tuple(frame.shape[1:]) != hw:
            raise EvaluationError(
                f"{path} has {frame.shape[1]} x {frame.shape[2]} px, the first frame of {sequence.name} has"
                f" {hw[0]} x {hw[1]}. All frames of a sequence have to be of one size."
            )
        yield frame


def _winners(labels: FeatureMap, grid: PatchGrid, hw: tuple[int, int]) -> Labels:
    """The label with the largest share at every pixel."""
    winners: Labels = upsample(labels[None], grid, hw)[0].argmax(dim=-1).cpu().numpy()
    return winners
