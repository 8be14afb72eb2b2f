"""Backbone: a frozen ViT that turns images into features."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dvt.backbone.config import blocks_of
from dvt.backbone.features import Features
from dvt.backbone.preprocess import Preprocess
from dvt.backbone.pruning import PRUNING, Pruning
from dvt.backbone.reader import TokenReader, Tokens, VitFacts
from dvt.errors import BackboneError
from dvt.grid import PatchGrid
from dvt.runtime import Precision
from dvt.shapes import ImageBatch
from dvt.spec import FeatureSpec


@dataclass(frozen=True, slots=True)
class Readout:
    """Which tokens of a ViT are taken."""

    grid: PatchGrid
    """Patches of an image of the default size."""
    layers: tuple[int, ...]
    """Indices of the blocks whose outputs are taken, counted from 0, ascending."""
    norm: bool
    """Whether the ViT's final norm is applied to them."""

    @classmethod
    def of(
        cls, facts: VitFacts, image_hw: tuple[int, int], stride: int | None, layer: int | Sequence[int], norm: bool
    ) -> "Readout":
        """Check options against a ViT.

        Args:
            facts: what the ViT is.
            image_hw: default height and width of an image in pixels.
            stride: pixels between neighbouring patches; None is the patch size.
            layer: index of the block, or of several; negative numbers count from the last.
            norm: whether to apply the final norm to each.

        Raises:
            GeometryError: image size, patch size and stride do not go together.
            BackboneError: the block or the final norm does not exist.
            ConfigError: no number of a block.
        """
        grid, depth = PatchGrid.of(image_hw, facts.patch, stride), facts.depth
        given = blocks_of(layer)
        for each in given:
            if not -depth <= each < depth:
                raise BackboneError(
                    f"layer {each} does not exist: {facts.name} has {depth} blocks. Give 0 to {depth - 1}, or -{depth}"
                    " to -1 counted from the last."
                )
        layers = [each % depth for each in given]
        if not layers or layers != sorted(set(layers)):
            raise BackboneError(f"layer={given}: give blocks in ascending order, each once.")
        if norm and not facts.has_norm:
            raise BackboneError(
                f"{facts.name} has no final norm on its tokens (it has none, or norms after pooling)."
                " Set norm=False (backbone.norm=false on the command line)."
            )
        return cls(grid=grid, layers=tuple(layers), norm=norm)


class Backbone(nn.Module):
    """A frozen ViT: `backbone(images) -> Features`.

    It takes RGB in [0, 1] that is not normalised, and normalises with the statistics that the model was trained with.
    It stays in evaluation mode and computes no gradients.

    Attributes:
        name: what it was loaded as: a catalogue name or its full name.
        full_name: its name in timm with the tag of its weights, or `<source>:<name>` of another source.
        vit: the ViT as its library makes it.
        reader: how its tokens are read.
        layers: indices of the blocks whose outputs are taken, counted from 0. The features of several stand side by
            side in the channels.
        norm: whether the final norm is applied to them.
        grid: patches of an image of the default size.
        num_channels: C, of all layers together.
        num_prefix_tokens: P, class and register tokens.
        mean: (3, 1, 1) float32, subtracted from the colours.
        std: (3, 1, 1) float32, divides them afterwards.
        weights_hash: sha256 that identifies the weights.
        weights_file: absolute path of the file they were read from, or `random`; None: of the hub, or given tensors.
        precision: number format of the forward pass and of the features.

    Examples:
        >>> import dvt, torch
        >>> backbone = dvt.load_backbone("vit_micro", device="cpu")
        >>> features = backbone(torch.rand(2, 3, 224, 160))
        >>> features.patches.shape, features.prefix.shape
        (torch.Size([2, 14, 10, 192]), torch.Size([2, 1, 192]))
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        reader: TokenReader,
        readout: Readout,
        *,
        name: str,
        weights_hash: str,
        precision: Precision,
        weights_file: str | None = None,
    ):
        """Freeze a ViT.

        Args:
            reader: the ViT with its weights; it is changed (stride, number format) and must not be used elsewhere.
            readout: which of its tokens are taken.
            name: what to call it.
            weights_hash: hash of the weights.
            weights_file: where they come from, if it is known and not the hub.
            precision: the number format to convert it to.

        Raises:
            BackboneError: this ViT cannot have a dense stride.
        """
        super().__init__()
        reader.set_stride(readout.grid.stride)
        self.reader, self.name, self.full_name = reader, name, reader.facts.name
        self.layers, self.norm, self.grid = readout.layers, readout.norm, readout.grid
        self.num_channels = reader.facts.num_channels * len(readout.layers)
        self.num_prefix_tokens = reader.facts.num_prefix_tokens
        self.weights_hash, self.weights_file, self._precision = weights_hash, weights_file, precision
        self.vit = reader.network.to(precision.dtype).requires_grad_(False)
        self.register_buffer("mean", torch.tensor(reader.facts.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(reader.facts.std).view(3, 1, 1), persistent=False)
        self.eval()

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.mean.device

    @property
    def layer(self) -> int:
        """Index of the block whose output is taken, counted from 0; of several, the last."""
        return self.layers[-1]

    @property
    def precision(self) -> Precision:
        """Number format of the forward pass and of the features; `.half()` and `.to(torch.bfloat16)` change it."""
        first = next(self.vit.parameters(), None)
        return self._precision if first is None else Precision.of(first.dtype)

    @property
    def spec(self) -> FeatureSpec:
        """Which features these are."""
        return FeatureSpec(
            backbone=self.full_name,
            weights_hash=self.weights_hash,
            layer=self.layer,
            norm=self.norm,
            grid=self.grid,
            channels=self.num_channels,
            earlier_layers=self.layers[:-1],
        )

    @property
    def pruning(self) -> Pruning | None:
        """What drops patches in the ViT (`student.keep` of `dvt distill`); None: all go through all blocks."""
        found = getattr(self.vit, PRUNING, None)
        return found if isinstance(found, Pruning) else None

    @property
    def preprocess(self) -> Preprocess:
        """Brings any image to the default size: `backbone.preprocess("cat.jpg")`."""
        return Preprocess(self.grid.image_hw)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Backbone":
        """Move or convert; mean and std of the colours stay in float32."""
        mean, std = self.mean, self.std
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.mean, self.std = mean.to(self.mean.device), std.to(self.std.device)
        return self

    def train(self, mode: bool = True) -> "Backbone":
        """Stay in evaluation mode."""
        return super().train(False)

    def grid_for(self, image_hw: tuple[int, int]) -> PatchGrid:
        """The patches of an image of that height and width.

        Raises:
            GeometryError: the size does not fit patch and stride.
        """
        return PatchGrid.of(image_hw, self.grid.patch, self.grid.stride)

    @torch.no_grad()
    def forward(self, images: ImageBatch) -> Features:
        """The features of a batch of images of one size, without gradients.

        Args:
            images: (B, 3, y, x) RGB in [0, 1], not normalised, floating point, on any device; any size and aspect that
                fits patch and stride.

        Returns:
            Features on the backbone's device, in the number format of `precision`.

        Raises:
            BackboneError: not a batch of RGB images.
            GeometryError: the size does not fit patch and stride.
        """
        return self.forward_layers(images)[-1]

    def forward_layers(
        self, images: ImageBatch, layers: Sequence[int] = (), *, reader: TokenReader | None = None
    ) -> list[Features]:
        """The features of further blocks and of the backbone, from one forward pass, with gradients.

        Gradients reach the parameters of the ViT that require them. A frozen ViT has none; a copy in training does.

        Args:
            images: as for `forward`.
            layers: indices of blocks up to the backbone's last, counted from 0, ascending.
            reader: another way to read the same ViT, such as with test-time registers; None: the backbone's own.

        Returns:
            The output of each of these blocks without the final norm; last, what `forward` returns.

        Raises:
            BackboneError: not a batch of RGB images.
            GeometryError: the size does not fit patch and stride.

        Examples:
            >>> import dvt, torch
            >>> backbone = dvt.load_backbone("vit_micro", device="cpu")
            >>> [features.patches.shape[1:] for features in backbone.forward_layers(torch.rand(1, 3, 224, 224), [1, 3])]
            [torch.Size([14, 14, 192]), torch.Size([14, 14, 192]), torch.Size([14, 14, 192])]
        """
        assert all(0 <= layer <= self.layer for layer in layers) and list(layers) == sorted(set(layers)), layers
        if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
            raise BackboneError(
                f"expected images of shape (B, 3, height, width), floating point in [0, 1]; got {tuple(images.shape)}"
                f" {images.dtype}. Make a batch of one with image[None]."
            )
        grid = self.grid_for((images.shape[2], images.shape[3]))
        normalised = (images.to(self.device, torch.float32) - self.mean) / self.std
        wanted = sorted({*layers, *self.layers})
        taken_by = reader or self.reader
        taken = dict(zip(wanted, taken_by.tokens(normalised.to(self.precision.dtype), wanted, grid), strict=True))
        own = [self._normed(taken[layer]) for layer in self.layers]
        output = Tokens(*(torch.cat(parts, dim=-1) for parts in zip(*own, strict=True)))
        return [
            Features(patches=tokens.reshape(tokens.shape[0], *grid.hw, tokens.shape[2]), prefix=prefix, grid=grid)
            for tokens, prefix in (*(taken[layer] for layer in layers), output)
        ]

    def _normed(self, tokens: Tokens) -> Tokens:
        """After the final norm, on each token by itself, if it is applied."""
        norm = self.reader.norm
        if not self.norm:
            return tokens
        assert norm is not None, self.full_name
        return Tokens(norm(tokens.patches), norm(tokens.prefix))
