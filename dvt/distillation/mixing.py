"""Images of a step mixed with each other: MixToken (Jiang et al. 2021) and Un-Mix (Shen et al. 2022)."""

from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor, nn
from torch.nn import functional

from dvt.backbone.backbone import Backbone
from dvt.distillation.config import DistillConfig, MixingConfig, MixingKind
from dvt.distillation.student import Student
from dvt.errors import BackboneError, ConfigError
from dvt.grid import PatchGrid
from dvt.runtime import seed_for
from dvt.shapes import FeatureMaps, ImageBatch


@dataclass(frozen=True, slots=True)
class Blend:
    """Whole images, blended: `own` of the image, the rest of the other one (the global mixture of Un-Mix)."""

    own: float
    """In [0, 1]."""


@dataclass(frozen=True, slots=True)
class Box:
    """A box of patches of the other image in the image, in patches."""

    top: int
    """First row."""
    left: int
    """First column."""
    height: int
    """Rows; 0: nothing of the other image."""
    width: int
    """Columns."""

    def on(self, grid_hw: tuple[int, int]) -> Tensor:
        """(H, W) bool, true within the box.

        Examples:
            >>> Box(top=0, left=1, height=1, width=2).on((2, 4)).int()
            tensor([[0, 1, 1, 0],
                    [0, 0, 0, 0]], dtype=torch.int32)
        """
        mask = torch.zeros(grid_hw, dtype=torch.bool)
        mask[self.top : self.top + self.height, self.left : self.left + self.width] = True
        return mask


Mixture = Blend | Box
"""How each image of a step is mixed with the one at the mirrored place of the batch; the same for all of them."""


def draw_mixture(config: MixingConfig, grid_hw: tuple[int, int], seed: int, step: int) -> Mixture | None:
    """The mixture of a step, as a function of seed and step: a resumed run, and every process, draws the same.

    The share of the own image is uniform in [0, 1], which is Beta(1, 1) of Un-Mix. A box has sqrt(1 - share) of the
    rows and of the columns, rounded to patches, and lies anywhere in the image; it is not cut at the border.

    Args:
        config: the options.
        grid_hw: rows and columns of patches.
        seed: of the run.
        step: number of the step.

    Returns:
        None: the images of this step are not mixed.

    Examples:
        >>> config = MixingConfig(kind=MixingKind.mixtoken, probability=1.0)
        >>> draw_mixture(config, (14, 14), seed=0, step=7) == draw_mixture(config, (14, 14), seed=0, step=7)
        True
    """
    rng = torch.Generator().manual_seed(seed_for(seed, f"mixture of step {step}"))
    when, which, own, row, column = torch.rand(5, generator=rng, dtype=torch.float64).tolist()
    if when >= config.share_of_steps:
        return None
    if which < config.share_of_blends:
        return Blend(own)
    height, width = (round(side * sqrt(1 - own)) for side in grid_hw)
    rows, columns = grid_hw
    return Box(int(row * (rows - height + 1)), int(column * (columns - width + 1)), height, width)


def mixed_pass(student: Student, images: ImageBatch, mixture: Mixture, kind: MixingKind) -> tuple[FeatureMaps, Tensor]:
    """The student on mixed images.

    Args:
        student: the ViT.
        images: (B, 3, y, x) RGB in [0, 1], not mixed.
        mixture: how they are mixed.
        kind: mixtoken or unmix.

    Returns:
        (B, H, W, C) patches, float32; the share of each that is of the own image, () or (H, W), in [0, 1].
    """
    grid = student.backbone.grid
    if kind is MixingKind.mixtoken:
        assert isinstance(mixture, Box)
        taken = mixture.on(grid.hw).to(images.device)
        with student.backbone.reader.entering(lambda tokens: mix_tokens(tokens, taken.flatten())):
            return student(images).patches.float(), (~taken).float()
    own_pixels = own_share_of_pixels(mixture, grid).to(images.device)
    mixed = own_pixels * images + (1 - own_pixels) * images.flip(0)
    own = own_pixels
    if own_pixels.ndim:  # overlapping patches at the edge of the box have pixels of both images
        own = functional.avg_pool2d(own_pixels[None, None], grid.patch, grid.stride)[0, 0]
    return student(mixed).patches.float(), own


def mix_tokens(tokens: Tensor, taken: Tensor) -> Tensor:
    """Tokens with some patches of the sequence at the mirrored place of the batch (MixToken).

    Args:
        tokens: (B, P + N, C), prefix tokens first, which stay.
        taken: (N,) bool, the patches to take from the other sequence.

    Raises:
        BackboneError: these are not the tokens of N patches.

    Examples:
        >>> tokens = torch.tensor([[0, 1, 2, 3], [0, 4, 5, 6]])[..., None]
        >>> mix_tokens(tokens, torch.tensor([False, True, True]))[..., 0]
        tensor([[0, 1, 5, 6],
                [0, 4, 2, 3]])
    """
    num_prefix = tokens.shape[1] - taken.numel() if tokens.ndim == 3 else -1
    if num_prefix < 0:
        raise BackboneError(
            f"mixing.kind=mixtoken: tokens of shape {tuple(tokens.shape)} enter the first block, expected"
            f" (B, P + {taken.numel()}, C). Give mixing.kind=unmix."
        )
    return torch.where(functional.pad(taken, (num_prefix, 0))[:, None], tokens.flip(0), tokens)


def own_share_of_pixels(mixture: Mixture, grid: PatchGrid) -> Tensor:
    """The share of the own image in the pixels: () of a blend; (y, x) of a box, 0 within it and 1 around it.

    Args:
        mixture: how images are mixed.
        grid: their patches.
    """
    if isinstance(mixture, Blend):
        return torch.tensor(mixture.own)
    own = torch.ones(grid.image_hw)
    rows, columns = (
        # the last patch of a box covers its own pixels up to the border, the others one stride
        slice(first * grid.stride, size if first + count == patches else (first + count) * grid.stride)
        for first, count, patches, size in (
            (mixture.top, mixture.height, grid.hw[0], grid.image_hw[0]),
            (mixture.left, mixture.width, grid.hw[1], grid.image_hw[1]),
        )
    )
    if mixture.height and mixture.width:
        own[rows, columns] = 0
    return own


def check_mixing(config: DistillConfig, backbone: Backbone, class_token_weight: float) -> None:
    """Refuse a mixture that this run cannot have.

    Args:
        config: all options.
        backbone: the ViT.
        class_token_weight: weight of the class token's distance.

    Raises:
        ConfigError: there is nothing to mix with, or no step in which the class token could be learned.
        BackboneError: the ViT shows nobody the tokens that enter its blocks.
    """
    mixing = config.mixing
    if mixing.kind is MixingKind.none:
        return
    if config.batch_size < 2:
        raise ConfigError(f"mixing.kind={mixing.kind.value} needs two images per step: give batch_size=2 or more.")
    if mixing.kind is MixingKind.mixtoken:
        with backbone.reader.entering(nn.Identity()):
            pass
        if class_token_weight and mixing.share_of_steps == 1:
            raise ConfigError(
                "mixing.probability=1 leaves no step in which the class token is learned, as it has no target in a step"
                " of MixToken: give a probability below 1, or student.class_token_weight=0."
            )
