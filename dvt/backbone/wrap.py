"""wrap_backbone: a module of yours as a backbone."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from dvt.backbone.backbone import Backbone, Readout
from dvt.backbone.colours import with_colours_hash
from dvt.backbone.reader import PLAIN
from dvt.backbone.sources.module_reader import SOURCE, module_reader
from dvt.backbone.weights import state_hash
from dvt.numbers import takes_numbers
from dvt.runtime import Precision, check_precision, pick_device
from dvt.torch_state import own_torch_state


@takes_numbers
@own_torch_state()
def wrap_backbone(
    module: nn.Module,
    *,
    patch: int,
    name: str | None = None,
    image_size: int | Sequence[int] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    num_prefix_tokens: int = 0,
    blocks: str | None = None,
    norm: str | None = None,
    layer: int | Sequence[int] = -1,
    forward: Callable[[nn.Module, Tensor], Tensor] | None = None,
    device: str | torch.device = "auto",
    precision: str = "fp32",
) -> Backbone:
    """A module as a frozen backbone, for everything that takes one.

    It is tried once with a black image. Stores, model folders and exports name it by `name`. They load it again where
    `name` is `package.module:function` of a function that makes it (`backbone.source=module`).

    Args:
        module: for (B, 3, y, x) images it returns (B, P + N, C) tokens, prefix tokens first, or a (B, C, H, W) map. It
            is frozen, and must not be used elsewhere.
        patch: pixels between neighbouring patches, or cells of the map.
        name: what to call it; None: the name of its class.
        image_size: default size of an image in pixels, one number or height and width; None: 16 patches.
        mean: subtracted from the colours, which are in [0, 1]; None: nothing.
        std: divides them afterwards; None: nothing.
        num_prefix_tokens: P, class and register tokens before those of the patches; the first is a class token.
        blocks: name of the list of its blocks, such as `encoder.layers`, for `layer`; each returns tokens. None: what
            the module returns is the one layer.
        norm: name of its final norm, with `blocks`; it is then applied to the tokens of a block.
        layer: index of the block whose output is taken, or of several; negative numbers count from the last.
        forward: `forward(module, images)`, of the module that it is given: students and exports are copies. None:
            `module(images)`.
        device: `auto` (cuda, else mps, else cpu) or a device of this machine.
        precision: `fp32`, `fp16`, `bf16` or `fp64`.

    Raises:
        BackboneError: the module returns something else, or raises; blocks or norm are no parts of it; `forward` runs
            another module than it is given.
        ConfigError: an image size, mean, std, device or precision that does not exist.
        GeometryError: image size and patch do not go together.

    Examples:
        >>> import dvt, torch
        >>> stem = torch.nn.Conv2d(3, 24, kernel_size=8, stride=8)
        >>> backbone = dvt.wrap_backbone(stem, patch=8, image_size=64, device="cpu")
        >>> backbone(torch.rand(1, 3, 64, 96)).patches.shape
        torch.Size([1, 8, 12, 24])
    """
    place, number_format = pick_device(device), Precision.parse(precision)
    check_precision(number_format, place)
    own = name or type(module).__name__
    reader = module_reader(
        module,
        name=f"{SOURCE}:{own}",
        patch=patch,
        image_size=image_size,
        mean=mean,
        std=std,
        num_prefix_tokens=num_prefix_tokens,
        blocks=blocks,
        norm=norm,
        forward=forward,
    )
    readout = Readout.of(reader.facts, reader.facts.image_hw, None, layer, reader.facts.has_norm)
    weights_hash = state_hash(module)
    if (reader.facts.mean, reader.facts.std) != PLAIN:
        weights_hash = with_colours_hash(weights_hash, reader.facts)
    return Backbone(reader, readout, name=own, weights_hash=weights_hash, precision=number_format).to(place)
