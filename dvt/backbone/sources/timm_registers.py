"""Test-time registers: a ViT of timm read with an extra token that takes the activations of a few neurons."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from timm.layers.mlp import Mlp
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from dvt.backbone.pruning import PRUNING
from dvt.backbone.reader import TokenReader, Tokens
from dvt.backbone.sources.timm_reader import TimmReader
from dvt.errors import BackboneError
from dvt.grid import PatchGrid
from dvt.shapes import ImageBatch


class RegisterReader(TimmReader):
    """A plain ViT of timm whose outlier tokens are moved to an extra token, without training.

    Jiang et al., "Vision Transformers Don't Need Trained Registers" (2025). The extra token is appended in front
    of the first block, with zeros and without a position embedding. Behind the activation function of an MLP, each of
    the given neurons is set to 0 at all patches, and its largest activation over the patches is given to the extra
    token, which does not leave the ViT. Prefix tokens keep their activations.

    Several threads may run it and the plain ViT at once: its hooks ignore the passes of other calls.

    Examples:
        >>> import dvt, torch
        >>> backbone = dvt.load_backbone("vit_micro", device="cpu")
        >>> reader = RegisterReader(backbone.reader, [(3, 17)])
        >>> backbone.forward_layers(torch.rand(1, 3, 64, 64), reader=reader)[-1].patches.shape
        torch.Size([1, 4, 4, 192])
    """

    def __init__(self, reader: TokenReader, neurons: Sequence[tuple[int, int]]):
        """Share the network of a reader.

        Args:
            reader: the ViT; it is left as it is.
            neurons: block and index of each neuron in the MLP of the block, counted from 0.

        Raises:
            BackboneError: not a plain ViT of timm with plain MLPs, or neurons that it does not have.
        """
        mlps = plain_mlps(reader)
        widths = [mlp.fc2.weight.shape[1] for mlp in mlps]
        for block, index in neurons:
            if not (0 <= block < len(mlps) and 0 <= index < widths[block]):
                raise BackboneError(
                    f"neuron {index} of block {block} does not exist: the {len(mlps)} blocks of {reader.facts.name}"
                    f" have {max(widths)} each. Give the registers of this ViT."
                )
        _share(self, reader)
        self._moved = {
            block: torch.isin(torch.arange(widths[block]), torch.tensor([i for b, i in neurons if b == block]))
            for block in sorted({block for block, _ in neurons})
        }

    def tokens(self, images: ImageBatch, layers: Sequence[int], grid: PatchGrid) -> list[Tokens]:
        """The tokens of blocks, before the final norm, without the extra one."""
        call, mlps = object(), plain_mlps(self)
        handles = [self.blocks[0].register_forward_pre_hook(_appender(call))]
        for block, mask in self._moved.items():
            if block < len(mlps):  # `fix` drops later blocks
                mover = _mover(call, mask, self.facts.num_prefix_tokens)
                handles.append(mlps[block].act.register_forward_hook(mover))
        with _running(call, handles):
            taken = super().tokens(images, layers, grid)
        return [Tokens(each.patches[:, :-1], each.prefix) for each in taken]

    def set_grad_checkpointing(self, enable: bool) -> None:
        """Refused: a pass that is computed again in the backward pass would not have the registers."""
        if enable:
            raise BackboneError(f"{self.facts.name} with test-time registers is frozen: it has no backward pass.")


class ActivationReader(TimmReader):
    """A plain ViT of timm that also keeps the activations of its MLPs.

    Attributes:
        activations: of the last pass, (B, P + N, D) behind the activation function, by block.
    """

    def __init__(self, reader: TokenReader):
        """Share the network of a reader.

        Raises:
            BackboneError: not a plain ViT of timm with plain MLPs.
        """
        plain_mlps(reader)
        _share(self, reader)
        self.activations: dict[int, Tensor] = {}

    def tokens(self, images: ImageBatch, layers: Sequence[int], grid: PatchGrid) -> list[Tokens]:
        """The tokens of blocks, before the final norm."""
        call = object()
        kept: dict[int, Tensor] = {}
        mlps = plain_mlps(self)[: layers[-1] + 1]
        handles = [mlp.act.register_forward_hook(_keeper(call, kept, block)) for block, mlp in enumerate(mlps)]
        with _running(call, handles):
            taken = super().tokens(images, layers, grid)
        self.activations = kept
        return taken


def _share(reader: TimmReader, other: TokenReader) -> None:
    """Read the network of another reader."""
    assert isinstance(other, TimmReader), "plain_mlps has checked it"
    reader.network, reader.facts, reader.norm = other.network, other.facts, other.norm
    reader.recoloured = other.recoloured


def plain_mlps(reader: TokenReader) -> list[Mlp]:
    """The MLPs of all blocks.

    Raises:
        BackboneError: not a plain ViT of timm, it drops patches, or its MLPs are not `fc1, act, fc2`.
    """
    if hasattr(reader.network, PRUNING):
        raise BackboneError(
            f"method=registers does not work with {reader.facts.name}: this ViT drops patches on its way"
            " (student.keep), and an extra token would be one of them. Give the ViT before it was distilled."
        )
    blocks = list(reader.network.blocks) if isinstance(reader.network, VisionTransformer) else []
    mlps = [getattr(block, "mlp", None) for block in blocks]
    plain = [mlp for mlp in mlps if type(mlp) is Mlp and isinstance(mlp.norm, nn.Identity)]
    if not isinstance(reader, TimmReader) or len(plain) != len(mlps) or not plain:
        found = type(reader.network).__name__ if not mlps else type(mlps[0]).__name__
        raise BackboneError(
            f"method=registers does not work with {reader.facts.name} ({found}): it needs a VisionTransformer of timm"
            " whose blocks have a plain MLP (fc1, act, fc2). Give another method."
        )
    return plain


_RUNNING: ContextVar[object | None] = ContextVar("running", default=None)
"""The call that is running in this thread."""


@contextmanager
def _running(call: object, handles: Sequence[RemovableHandle]) -> Iterator[None]:
    """Hooks are in use within it, by this call alone, and removed behind it."""
    before = _RUNNING.set(call)
    try:
        yield
    finally:
        _RUNNING.reset(before)
        for handle in handles:
            handle.remove()


def _appender(call: object) -> Callable[[nn.Module, Any], Any]:
    def append(module: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        if _RUNNING.get() is not call:
            return None
        tokens, *others = given
        return torch.cat([tokens, torch.zeros_like(tokens[:, :1])], dim=1), *others

    return append


def _mover(call: object, mask: Tensor, num_prefix: int) -> Callable[[nn.Module, Any, Tensor], Tensor | None]:
    def move(module: nn.Module, given: Any, activations: Tensor) -> Tensor | None:
        return moved(activations, mask.to(activations.device), num_prefix) if _RUNNING.get() is call else None

    return move


def _keeper(call: object, kept: dict[int, Tensor], block: int) -> Callable[[nn.Module, Any, Tensor], None]:
    def keep(module: nn.Module, given: Any, activations: Tensor) -> None:
        if _RUNNING.get() is call:
            kept[block] = activations

    return keep


def moved(activations: Tensor, mask: Tensor, num_prefix: int) -> Tensor:
    """Give the largest activation of some neurons over the patches to the last token, and 0 to the patches.

    Args:
        activations: (B, P + N + 1, D), prefix tokens first, the extra token last.
        mask: (D,) which neurons.
        num_prefix: P.

    Examples:
        >>> activations = torch.tensor([[[1.0, 1.0], [5.0, 5.0], [7.0, 2.0], [0.0, 0.0]]])
        >>> moved(activations, torch.tensor([True, False]), num_prefix=1).tolist()
        [[[1.0, 1.0], [0.0, 5.0], [0.0, 2.0], [7.0, 0.0]]]
    """
    prefix, patches, extra = activations[:, :num_prefix], activations[:, num_prefix:-1], activations[:, -1:]
    largest = patches.amax(dim=1, keepdim=True)
    return torch.cat([prefix, patches.masked_fill(mask, 0), torch.where(mask, largest, extra)], dim=1)
