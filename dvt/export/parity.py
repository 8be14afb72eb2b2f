"""Parity: compare an exported model with PyTorch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from dvt.backbone.features import Features
from dvt.errors import DvtError
from dvt.shapes import ImageBatch

Runner: TypeAlias = Callable[[ImageBatch], tuple[Tensor, ...]]
"""An exported model, read back: images to patches, prefix tokens and, where it gives them, raw patches."""


class ParityError(DvtError):
    """An exported model differs from PyTorch by more than the tolerance."""


@dataclass(frozen=True, slots=True)
class Parity:
    """Difference between the tokens of an exported model and of the backbone in PyTorch."""

    max_difference: float
    """Largest absolute difference of a value; NaN if either has NaN."""
    min_cosine: float
    """Lowest cosine of a token with its counterpart."""
    max_value: float
    """Largest absolute value of the backbone's tokens, for scale."""
    batch_sizes: tuple[int, ...]
    """Batch sizes of the comparison."""

    def within(self, tolerance: float) -> bool:
        """Whether no value differs by more; false for NaN."""
        return self.max_difference <= tolerance

    def __str__(self) -> str:
        return (
            f"largest difference {self.max_difference:.2g} (values up to {self.max_value:.3g}),"
            f" lowest cosine of a token {self.min_cosine:.7f}, on batches of"
            f" {' and '.join(map(str, self.batch_sizes))} random images"
        )


@torch.no_grad()
def compare(
    exported: Runner,
    model: Callable[[ImageBatch], Features],
    image_hw: tuple[int, int],
    batch_sizes: Sequence[int] = (1, 2),
    raw: Callable[[ImageBatch], Features] | None = None,
) -> Parity:
    """Run both on the same random images.

    Args:
        exported: the exported model.
        model: the backbone that it was made from, on the CPU.
        image_hw: height and width of the images.
        batch_sizes: batch sizes to try; the model takes any.
        raw: the ViT in front of the denoiser, where the exported model gives its features as well.

    Returns:
        The comparison, over all batches and over all outputs alike.
    """
    generator = torch.Generator().manual_seed(0)
    differences, cosines, values = [], [], []
    for count in batch_sizes:
        images = torch.rand(count, 3, *image_hw, generator=generator)
        features = model(images)
        wanted = [features.patches, *([] if raw is None else [raw(images).patches])]
        patches, prefix, *more = exported(images)
        expected = torch.cat([features.prefix, *(each.flatten(1, 2) for each in wanted)], dim=1).double()
        got = torch.cat([prefix, *(each.flatten(1, 2) for each in (patches, *more))], dim=1).double()
        assert got.shape == expected.shape, (got.shape, expected.shape)
        differences.append((got - expected).abs().max())
        cosines.append(functional.cosine_similarity(got, expected, dim=-1).min())
        values.append(expected.abs().max())
    return Parity(
        max_difference=torch.stack(differences).max().item(),
        min_cosine=torch.stack(cosines).min().item(),
        max_value=torch.stack(values).max().item(),
        batch_sizes=tuple(batch_sizes),
    )
