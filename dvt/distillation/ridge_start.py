"""The weights that the linear denoiser of a student starts with: a ridge regression."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import default_collate

from dvt.denoiser.denoised import denoiser_input
from dvt.denoiser.ridge import RidgeSums
from dvt.distillation.student import Student
from dvt.errors import TrainingError
from dvt.training.data import ItemSet

_MAX_PATCHES = 100_000
"""More patches change the solution little."""
_BATCH_PATCHES = 4096
"""Bounds the memory beside the sums."""


@torch.no_grad()
def ridge_start(
    student: Student, images: ItemSet, targets: Callable[[dict[str, Any]], Tensor], strength: float
) -> tuple[Tensor, Tensor]:
    """Ridge regression from the blocks of the untrained ViT to the patches that the student is to learn.

    Images are read as they are, evenly spaced, up to 100,000 patches in all.

    Args:
        student: with a denoiser, on the device in use; it is not changed.
        images: to learn from, read by number.
        targets: gives the (B, H, W, C) patches to learn of a batch.
        strength: of the regression, above 0; inputs have unit variance.

    Returns:
        (C, (1 + L) C) weights and (C,) biases of the denoiser, float32, on the CPU.

    Raises:
        TrainingError: a feature to learn, or of the ViT, is NaN or infinite; its images are named.
    """
    denoiser = student.denoiser
    assert denoiser is not None
    mixing = denoiser.linear_mixing
    device, sums = mixing.linear.weight.device, RidgeSums.of(mixing.linear)
    num_patches = student.backbone.grid.num_patches
    count = min(len(images), max(1, _MAX_PATCHES // num_patches))
    numbers = [number * len(images) // count for number in range(count)]
    at_once = max(1, _BATCH_PATCHES // num_patches)
    for first in range(0, count, at_once):
        batch = default_collate([images[number] for number in numbers[first : first + at_once]])
        batch = {name: each.to(device) if isinstance(each, Tensor) else each for name, each in batch.items()}
        raw, _, _ = denoiser_input(student.backbone, batch["image"], denoiser.config.layers)
        inputs, wanted = mixing.inputs(raw.float()).flatten(0, 2), targets(batch).flatten(0, 2)
        if not (bool(inputs.isfinite().all()) and bool(wanted.isfinite().all())):
            raise TrainingError(
                f"features of some of these images are NaN or infinite: {', '.join(map(str, batch['key']))}. Look at"
                " the images and at the weights of the ViT, or leave the images out."
            )
        sums.add(inputs, wanted)
    weight, bias = sums.solve(strength)
    return weight.float().cpu(), bias.float().cpu()
