"""Any module as a backbone: it gives tokens or a map for images, and says how large a patch is.

A function of yours makes the module: `backbone.source=module backbone.name=my_package.models:build`, or in Python
`dvt.wrap_backbone(module, patch=14)`. It may say more of itself by attributes:

    patch               pixels between neighbouring patches; required
    image_size          default size of an image, one number or height and width; else 16 patches
    mean, std           of the colours; left out: it takes RGB in [0, 1]
    num_prefix_tokens   class and register tokens before the patch tokens; else 0
    blocks, norm        names of its list of blocks and of its final norm: "encoder.layers"; left out: one layer

For (B, 3, y, x) images it returns (B, P + N, C) tokens, prefix tokens first, or a (B, C, H, W) map, such as that of a
convolutional or hierarchical network.
"""

import copy
import importlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, Final

import torch
from torch import Tensor, nn

from dvt.backbone.colours import three_numbers
from dvt.backbone.reader import PLAIN, HookReader, TokenReader, Tokens, VitFacts
from dvt.backbone.sources.network_weights import fill_network
from dvt.errors import BackboneError, DvtError, first_line
from dvt.grid import PatchGrid
from dvt.grid import image_hw as two_sides
from dvt.options import type_name
from dvt.shapes import ImageBatch

SOURCE: Final = "module"

Forward = Callable[[nn.Module, Tensor], Tensor]
"""Runs a module on normalised images."""
_EXPECTED = (
    "Expected (B, P + N, C) tokens, the P = num_prefix_tokens prefix tokens first, or a (B, C, H, W) map, for"
    " (B, 3, y, x) images"
)


class _OfModule(TokenReader):
    """What both readers of modules share: how the module runs, and that it comes with its weights."""

    forward: Forward | None
    """Runs it on normalised images; None: the module is called."""

    def run(self, images: Tensor) -> Any:
        """Run the module on normalised images."""
        return self.network(images) if self.forward is None else self.forward(self.network, images)

    def fetch(self) -> None:
        """Nothing: the module comes with its weights."""

    def fill(self, state: Mapping[str, Tensor], *, source: str) -> None:
        """Give the module the weights of a file, by its own names."""
        fill_network(self.network, state, source=source, name=self.facts.name)


class ModuleReader(_OfModule):
    """A module whose blocks are not known: one layer, which is what it returns. Its norm, if any, is in it."""

    def __init__(self, network: nn.Module, facts: VitFacts, forward: Forward | None):
        """Read a module.

        Args:
            network: the module.
            facts: what it is.
            forward: runs it on normalised images; None: calls it.
        """
        self.network, self.facts, self.forward = network, facts, forward
        self.norm = nn.Identity()

    @property
    def blocks(self) -> Sequence[nn.Module]:
        """The module itself."""
        return [self.network]

    def tokens(self, images: ImageBatch, layers: Sequence[int], grid: PatchGrid) -> list[Tokens]:
        """What the module returns, as tokens."""
        return [as_tokens(self.run(images), self.facts.num_prefix_tokens, grid, self.facts.name)] * len(layers)

    def set_grad_checkpointing(self, enable: bool) -> None:
        """Refuse it: the blocks are not known."""
        if enable:
            raise BackboneError(
                f"gradient_checkpointing does not work with {self.facts.name}, whose blocks are not known: leave it"
                ' out, or name them (blocks="encoder.layers").'
            )

    def entering(self, change: Callable[[Tensor], Tensor]) -> AbstractContextManager[None]:
        """Refuse it: the blocks are not known."""
        raise BackboneError(
            f"the tokens that enter the blocks of {self.facts.name} cannot be changed, as its blocks are not known:"
            ' name them (blocks="encoder.layers").'
        )

    def fix(self, grid: PatchGrid, layer: int, norm: bool) -> None:
        """Nothing: what is needed at one size is not known."""


class ModuleBlocksReader(_OfModule, HookReader):
    """A module whose blocks are known."""

    def __init__(self, network: nn.Module, facts: VitFacts, forward: Forward | None, *, blocks: str, norm: str | None):
        """Read a module.

        Args:
            network: the module.
            facts: what it is.
            forward: runs it on normalised images; None: calls it.
            blocks: name of the list of its blocks.
            norm: name of its final norm; None: there is none.
        """
        super().__init__(network, facts, blocks=blocks, norm=norm)
        self.forward = forward

    def fix(self, grid: PatchGrid, layer: int, norm: bool) -> None:
        """Run all blocks: torch.export follows no early stop, and the module may count on their number."""
        self._stops = False


def module_reader(
    network: Any,
    *,
    name: str,
    patch: Any,
    image_size: Any = None,
    mean: Any = None,
    std: Any = None,
    num_prefix_tokens: Any = 0,
    blocks: str | None = None,
    norm: str | None = None,
    forward: Forward | None = None,
) -> TokenReader:
    """Read a module, after one try with a black image.

    Args:
        network: the module.
        name: full name of the backbone.
        patch: pixels between neighbouring patches.
        image_size: default size of an image; None: 16 patches.
        mean: of the colours; None with `std`: it takes RGB in [0, 1].
        std: of the colours.
        num_prefix_tokens: P, tokens before those of the patches.
        blocks: name of the list of its blocks; None: one layer.
        norm: name of its final norm, with `blocks`.
        forward: `forward(network, images)`; None: `network(images)`.

    Raises:
        BackboneError: it returns something else, or raises; blocks or norm are not there; no number of patches.
        ConfigError: mean or std are not three numbers.
    """
    if not isinstance(network, nn.Module):
        raise BackboneError(f"{name} is of type {type_name(network)}, not a torch.nn.Module.")
    for option, number, least in (("patch", patch, 1), ("num_prefix_tokens", num_prefix_tokens, 0)):
        if type(number) is not int or number < least:
            raise BackboneError(f"{name}: {option}={number!r}: give a whole number, at least {least}.")
    hw = (16 * patch, 16 * patch) if image_size is None else two_sides(image_size)
    network.eval()
    parts = dict(network.named_modules())
    for given, wanted in (("blocks", blocks), ("norm", norm)):
        if wanted is not None and wanted not in parts:
            raise BackboneError(f"{name}: {given}={wanted!r} is no part of {type(network).__name__}.")
    if blocks is not None and not list(parts[blocks].children()):
        raise BackboneError(f"{name}: blocks={blocks!r} has no blocks in it: give the name of their list.")
    facts = VitFacts(
        name=name,
        depth=1 if blocks is None else len(list(parts[blocks].children())),
        num_channels=0,  # until it is tried
        num_prefix_tokens=num_prefix_tokens,
        has_class_token=num_prefix_tokens > 0,
        has_norm=blocks is None or norm is not None,
        patch=patch,
        native_hw=hw,
        image_hw=hw,
        mean=PLAIN[0] if mean is None else three_numbers(f"{name}: mean", mean),
        std=PLAIN[1] if std is None else three_numbers(f"{name}: std", std, above_0=True),
        license=None,
    )
    reader: ModuleReader | ModuleBlocksReader
    if blocks is None:
        reader = ModuleReader(network, facts, forward)
    else:
        reader = ModuleBlocksReader(network, facts, forward, blocks=blocks, norm=norm)
    reader.facts = replace(facts, num_channels=_tried(reader))
    return reader


def factory_reader(name: str) -> TokenReader:
    """The module that a function makes.

    Args:
        name: `package.module:function`.

    Raises:
        BackboneError: there is no such function, it raises, or what it returns is no module that fits.
    """
    full_name = f"{SOURCE}:{name}"
    place, colon, function_name = name.partition(":")
    if not colon:
        raise BackboneError(f"{full_name}: give package.module:function, such as my_package.models:build.")
    try:
        function = getattr(importlib.import_module(place), function_name)
    except (ImportError, AttributeError, ValueError, TypeError) as error:  # an empty or relative name: the last two
        raise BackboneError(
            f"{full_name} was not found ({first_line(error)}). Give package.module:function of a package that Python"
            " can import from here (PYTHONPATH, or an installed one)."
        ) from error
    except Exception as error:  # whatever the package raises
        raise BackboneError(
            f"{full_name}: the import of {place} raised {type(error).__name__}: {first_line(error)}"
        ) from error
    try:
        made = function()
    except Exception as error:
        raise BackboneError(f"{full_name} raised {type(error).__name__}: {first_line(error)}") from error
    if not isinstance(made, nn.Module):
        raise BackboneError(f"{full_name} returned {type(made).__name__}, not a torch.nn.Module.")
    patch = getattr(made, "patch", None)
    if patch is None:
        raise BackboneError(
            f"{full_name}: the module has patch=None. Give it an attribute `patch`, the pixels between neighbours."
        )
    made = copy.deepcopy(made)  # the function may return the same module again
    options = ("image_size", "mean", "std", "num_prefix_tokens")
    given = {option: getattr(made, option) for option in options if getattr(made, option, None) is not None}
    named = {part: getattr(made, part) for part in ("blocks", "norm") if isinstance(getattr(made, part, None), str)}
    return module_reader(made, name=full_name, patch=patch, **given, **named)


def as_tokens(output: Any, num_prefix_tokens: int, grid: PatchGrid, name: str) -> Tokens:
    """Tokens of what a module returned.

    Args:
        output: (B, P + N, C) tokens, or a (B, C, H, W) map.
        num_prefix_tokens: P.
        grid: the patches of the images.
        name: the backbone, for the error.

    Raises:
        BackboneError: it is something else.
    """
    rows, columns = grid.hw
    if not isinstance(output, Tensor):
        raise BackboneError(f"{name} returned {type(output).__name__}. {_EXPECTED}.")
    if output.ndim == 4 and not num_prefix_tokens and output.shape[2:] == (rows, columns):
        return Tokens(output.flatten(2).transpose(1, 2), output.new_zeros(output.shape[0], 0, output.shape[1]))
    if output.ndim == 3 and output.shape[1] == num_prefix_tokens + grid.num_patches:
        return Tokens(output[:, num_prefix_tokens:], output[:, :num_prefix_tokens])
    height, width = grid.image_hw
    raise BackboneError(
        f"{name} returned shape {tuple(output.shape)} for images of {height} x {width} px and patches of {grid.patch}"
        f" px: {_EXPECTED}; here (B, {num_prefix_tokens + grid.num_patches}, C) or (B, C, {rows}, {columns})."
    )


@torch.no_grad()
def _tried(reader: ModuleReader | ModuleBlocksReader) -> int:
    """The channels of a module, from one try with a black image.

    Raises:
        BackboneError: it raises, or returns something else than tokens or a map; its `forward` runs another module.
    """
    facts, like = reader.facts, next(reader.network.parameters(), torch.zeros(()))
    black = torch.zeros(1, 3, *facts.native_hw, dtype=like.dtype, device=like.device)
    try:
        (tokens,) = reader.tokens(black, [facts.depth - 1], PatchGrid.of(facts.native_hw, facts.patch))
        if reader.forward is not None:
            _check_forward(reader.network, reader.forward, black, facts.name)
    except DvtError:
        raise
    except Exception as error:
        raise BackboneError(
            f"{facts.name} raised {type(error).__name__} for a black image of {facts.native_hw[0]} x"
            f" {facts.native_hw[1]} px: {first_line(error)}. {_EXPECTED}."
        ) from error
    return tokens.patches.shape[2]


def _check_forward(network: nn.Module, forward: Forward, images: Tensor, name: str) -> None:
    """Refuse a `forward` that runs the module it was written beside, whatever module it is given.

    A twin that shares the weights is given to it, and no part of the network itself may run.

    Raises:
        BackboneError: a part of the network ran.
    """
    shared = {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers())}
    twin, ran = copy.deepcopy(network, shared), []  # copies the structure alone
    handles = [part.register_forward_pre_hook(lambda *_: ran.append(True)) for part in network.modules()]
    try:
        forward(twin, images)
    finally:
        for handle in handles:
            handle.remove()
    if ran:
        raise BackboneError(
            f"{name}: forward= runs a module of its own, not the one that it is given. Students and exports are copies"
            " of the module, and this forward would read the original: write forward(module, images) with that module."
        )
