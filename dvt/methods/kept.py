"""What a ViT that drops patches keeps of an image: the scores of its first predictor, and how far each patch goes."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from dvt.backbone.backbone import Backbone
from dvt.backbone.pruning import blocks_passed, watched_stages
from dvt.methods.method import Method, OnePass, stack_resized
from dvt.shapes import AnySizeImage, Float, Int64


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """What is kept of an image."""

    scores: Float[Tensor, "H W"]
    """Probability to be kept, of the first predictor, on the CPU."""
    blocks: Int64[Tensor, "H W"]
    """Number of blocks that each patch goes through, on the CPU."""


def kept_of(methods: Sequence[Method], image: AnySizeImage, image_hw: tuple[int, int]) -> dict[str, Kept]:
    """What the ViTs that drop patches keep of an image, by name of the method; takes a pass each.

    Args:
        methods: any; those of other ViTs are left out.
        image: (3, y, x), RGB in [0, 1].
        image_hw: size in pixels that it is resized to.
    """
    found = {}
    for method in methods:
        model = method.model if isinstance(method, OnePass) else None
        vit = getattr(model, "backbone", model)
        if not isinstance(vit, Backbone) or vit.pruning is None:
            continue
        with watched_stages() as stages:
            grid = vit(stack_resized([image], image_hw, vit.device)).grid
        num_blocks = vit.layer + 1
        blocks = blocks_passed(stages, vit.pruning.places, num_blocks, grid.num_patches)
        found[method.name] = Kept(
            scores=stages[0].scores[0].reshape(grid.hw).cpu(),
            blocks=blocks[0].reshape(grid.hw).cpu(),
        )
    return found
