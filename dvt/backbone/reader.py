"""TokenReader: a ViT of any library, read in one way."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from torch import Tensor, is_grad_enabled, nn
from torch.utils.checkpoint import checkpoint

from dvt.backbone.pruning import Pruning
from dvt.errors import BackboneError
from dvt.grid import PatchGrid
from dvt.shapes import ImageBatch
from dvt.spec import FeatureSpec

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and std of the colours of ImageNet."""
PLAIN = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
"""Mean and std of a ViT that takes RGB in [0, 1]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VitFacts:
    """What is known of a ViT before it has its weights."""

    name: str
    """Its full name: that of timm with the tag of its weights, or `<source>:<name>` of another source."""
    depth: int
    """Number of blocks; 1 where the blocks are not known."""
    num_channels: int
    """Channels C of a feature vector."""
    num_prefix_tokens: int
    """P, class and register tokens."""
    has_class_token: bool
    """Whether the first prefix token is a class token."""
    has_norm: bool
    """Whether there is a final norm on the tokens."""
    patch: int
    """Side of a patch in pixels."""
    native_hw: tuple[int, int]
    """Height and width of the images it was trained with."""
    image_hw: tuple[int, int]
    """Default height and width of an image: the catalogue's, else the native ones."""
    mean: tuple[float, float, float]
    """Subtracted from the colours, which are in [0, 1]."""
    std: tuple[float, float, float]
    """Divides them afterwards."""
    license: str | None
    """Licence of its weights, as far as it is known."""

    @property
    def spec(self) -> FeatureSpec:
        """Features after the last block and the final norm, at the default size; no hash of weights."""
        return FeatureSpec(
            backbone=self.name,
            weights_hash=None,
            layer=self.depth - 1,
            norm=True,
            grid=PatchGrid.of(self.image_hw, self.patch),
            channels=self.num_channels,
        )


class Tokens(NamedTuple):
    """Tokens of one block."""

    patches: Tensor
    """(B, N, C), rows of patches from the top."""
    prefix: Tensor
    """(B, P, C), class and register tokens."""


class TokenReader(ABC):
    """A ViT of any library: what it is, its parts, and the tokens of its blocks.

    Attributes:
        network: the ViT as its library makes it; its tensors are trained, hashed and saved, by the library's names.
        facts: what it is.
        norm: the final norm, on each token by itself; None: there is none.
        recoloured: whether mean and std of the colours are not those of its source.
    """

    network: nn.Module
    facts: VitFacts
    norm: nn.Module | None
    recoloured: bool = False

    @property
    @abstractmethod
    def blocks(self) -> Sequence[nn.Module]:
        """The blocks in order; empty where they are not known."""

    @abstractmethod
    def tokens(self, images: ImageBatch, layers: Sequence[int], grid: PatchGrid) -> list[Tokens]:
        """The tokens of blocks, before the final norm.

        Args:
            images: (B, 3, y, x), normalised, on the device and in the number format of the network.
            layers: indices of blocks, counted from 0, ascending.
            grid: the patches of the images.
        """

    @abstractmethod
    def fetch(self) -> None:
        """Give the network its pretrained weights.

        Raises:
            WeightsError: they cannot be had, or do not fit.
        """

    @abstractmethod
    def fill(self, state: Mapping[str, Tensor], *, source: str) -> None:
        """Give the network the weights of a file.

        Args:
            state: names and tensors of the file.
            source: the file, for errors and the log.

        Raises:
            WeightsError: a key is missing, unexpected or of another shape.
        """

    def set_stride(self, stride: int) -> None:
        """Set the pixels between neighbouring patches.

        Raises:
            BackboneError: this ViT cannot have a dense stride.
        """
        if stride != self.facts.patch:
            raise BackboneError(
                f"stride {stride} does not work with {self.facts.name}: only ViTs of timm can have a stride other than"
                f" their patch size. Leave the stride at {self.facts.patch}."
            )

    @abstractmethod
    def set_grad_checkpointing(self, enable: bool) -> None:
        """Compute activations again in the backward pass instead of keeping them.

        Raises:
            BackboneError: this ViT cannot.
        """

    @abstractmethod
    def entering(self, change: Callable[[Tensor], Tensor]) -> AbstractContextManager[None]:
        """Change the tokens that enter the first block, in forward passes within this context.

        Args:
            change: gets the (B, P + N, C) embedded tokens, prefix tokens first, with what embeds the position before
                the blocks; returns tokens of that shape.

        Raises:
            BackboneError: the blocks are not known.
        """

    @abstractmethod
    def fix(self, grid: PatchGrid, layer: int, norm: bool) -> None:
        """Keep what is needed for one layer at one image size: drop later blocks, resample position embeddings once."""

    def drop_patches(self, pruning: Pruning) -> None:
        """Make the ViT drop patches on its way.

        Args:
            pruning: which, and how they come back; it becomes a part of the network.

        Raises:
            BackboneError: this ViT cannot.
        """
        raise BackboneError(
            f"{self.facts.name} cannot drop patches: only plain ViTs of timm can. Give the same ViT from timm, or"
            " student.keep=1."
        )

    @property
    def made_from(self) -> dict[str, Any]:
        """What it is built from besides its name, as plain JSON; empty where the name says all."""
        return {"mean": list(self.facts.mean), "std": list(self.facts.std)} if self.recoloured else {}


class HookReader(TokenReader):
    """A ViT whose blocks are known: their outputs are kept by forward hooks, and later blocks do not run.

    A block gives (B, P + N, C) tokens, prefix tokens first, alone or as the first entry of a tuple. Several threads may
    run one reader at once: a hook ignores the passes of other calls.
    """

    def __init__(self, network: nn.Module, facts: VitFacts, *, blocks: str, norm: str | None):
        """Read a network.

        Args:
            network: the ViT.
            facts: what it is.
            blocks: name of the list of blocks in the network: `encoder.layer`.
            norm: name of the final norm; None: there is none.
        """
        self.network, self.facts, self._where = network, facts, blocks
        self._recomputes, self._stops = False, True
        self.norm = None if norm is None else network.get_submodule(norm)

    def run(self, images: Tensor) -> Any:
        """Run the network on normalised images."""
        return self.network(images)

    @property
    def blocks(self) -> Sequence[nn.Module]:
        """The blocks in order."""
        return list(self.network.get_submodule(self._where).children())

    def tokens(self, images: ImageBatch, layers: Sequence[int], grid: PatchGrid) -> list[Tokens]:
        """The tokens of blocks, before the final norm."""
        kept: dict[int, Tensor] = {}
        blocks = self.blocks
        handles = [blocks[layer].register_forward_hook(_keeper(kept, layer)) for layer in layers]
        if self._stops and layers[-1] + 1 < len(blocks):
            handles.append(blocks[layers[-1]].register_forward_hook(_stopper(kept)))
        running = _KEPT.set(kept)
        try:
            with _recomputed(blocks if self._recomputes and is_grad_enabled() else []):
                self.run(images)
        except _EnoughError:
            pass
        finally:
            _KEPT.reset(running)
            for handle in handles:
                handle.remove()
        return [self._split(kept.get(layer), layer, grid) for layer in layers]

    def set_grad_checkpointing(self, enable: bool) -> None:
        """Compute activations again in the backward pass instead of keeping them."""
        self._recomputes = enable

    @contextmanager
    def entering(self, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
        """Change the tokens that enter the first block, in forward passes within this context."""

        def changed(block: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
            if not given or not isinstance(given[0], Tensor):
                raise BackboneError(
                    f"the first block of {self.facts.name} does not take its tokens as its first argument: they cannot"
                    " be changed there."
                )
            return (change(given[0]), *given[1:])

        handle = self.blocks[0].register_forward_pre_hook(changed)
        try:
            yield
        finally:
            handle.remove()

    def _split(self, tokens: Any, layer: int, grid: PatchGrid) -> Tokens:
        if tokens is None:
            raise BackboneError(
                f"block {layer} of {self.facts.name} was not called. A forward pass has to call every block of the"
                f" network itself: {self._where}[{layer}](...)."
            )
        if not isinstance(tokens, Tensor):
            raise BackboneError(
                f"block {layer} of {self.facts.name} returned {type(tokens).__name__}: expected (B, P + N, C) tokens,"
                " alone or as the first entry of a tuple."
            )
        num_prefix = tokens.shape[1] - grid.num_patches if tokens.ndim == 3 else -1
        if num_prefix != self.facts.num_prefix_tokens:
            raise BackboneError(
                f"{self.facts.name} gives tokens of shape {tuple(tokens.shape)} for {grid}: expected (B,"
                f" {self.facts.num_prefix_tokens + grid.num_patches}, C), {self.facts.num_prefix_tokens} prefix tokens"
                f" and {grid.num_patches} patches."
            )
        return Tokens(tokens[:, num_prefix:], tokens[:, :num_prefix])

    def fix(self, grid: PatchGrid, layer: int, norm: bool) -> None:
        """Drop later blocks; the library resamples position embeddings."""
        parent, _, name = self._where.rpartition(".")
        blocks = self.network.get_submodule(self._where)
        if isinstance(blocks, nn.ModuleList | nn.Sequential):
            setattr(self.network.get_submodule(parent), name, blocks[: layer + 1])


_KEPT: ContextVar[dict[int, Tensor] | None] = ContextVar("kept", default=None)
"""What the call that is running in this thread keeps."""


class _EnoughError(Exception):
    """The last block that was asked for has run."""


def _keeper(kept: dict[int, Tensor], layer: int) -> Callable[[nn.Module, Any, Any], None]:
    def keep(module: nn.Module, given: Any, output: Any) -> None:
        if _KEPT.get() is kept:
            kept[layer] = output[0] if isinstance(output, tuple) else output

    return keep


def _stopper(kept: dict[int, Tensor]) -> Callable[[nn.Module, Any, Any], None]:
    def stop(module: nn.Module, given: Any, output: Any) -> None:
        if _KEPT.get() is kept:
            raise _EnoughError

    return stop


@contextmanager
def _recomputed(blocks: Sequence[nn.Module]) -> Iterator[None]:
    """Within it, the blocks keep their inputs alone for the backward pass."""
    for block in blocks:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    try:
        yield
    finally:
        for block in blocks:
            del block.forward
