"""Student: the copy of a ViT that is trained, and the Teacher that it learns from."""

import copy
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from dvt.backbone.backbone import Backbone
from dvt.backbone.features import FeatureExtractor, Features
from dvt.backbone.pruning import Pruning
from dvt.denoiser.config import DenoiserConfig, Kind
from dvt.denoiser.denoised import denoiser_input, joined_state
from dvt.denoiser.network import Denoiser
from dvt.denoiser.ridge import sums_text
from dvt.distillation.config import StudentConfig
from dvt.errors import BackboneError, ConfigError
from dvt.shapes import ImageBatch


@runtime_checkable
class Teacher(FeatureExtractor, Protocol):
    """A feature extractor with a ViT inside, such as a `DenoisedBackbone` or an `SrtBackbone`."""

    @property
    def backbone(self) -> Backbone:
        """The ViT; the student starts as a copy of it and gives features of the same layer."""

    @property
    def weights_hash(self) -> str:
        """Identifies all weights of the teacher, and its settings if it has any."""

    @property
    def settings(self) -> dict[str, Any]:
        """Settings beside the weights that its features depend on, as plain JSON; may be empty."""


class Student(nn.Module):
    """A copy of a frozen ViT; all blocks up to the layer in use are trained, or the last few of them.

    It computes without dropout. Blocks after the layer in use stay as they are. With `config.layers` a linear denoiser
    behind the ViT is trained as well; `ridge_start` gives its first weights. With `config.keep` below 1 the ViT drops
    patches on its way; inside `drawn_masks` it draws which, as the training does.

    Attributes:
        backbone: the ViT.
        denoiser: the linear layer behind it; None: the features are those of the ViT.
    """

    def __init__(self, backbone: Backbone, config: StudentConfig):
        """Copy a ViT.

        Args:
            backbone: the ViT; it is not changed.
            config: which blocks are trained.

        Raises:
            ConfigError: the ViT is not in fp32, has fewer blocks, or `config.layers` has blocks that are not before the
                layer in use.
            BackboneError: with `config.keep` below 1, a ViT that cannot drop patches; or one that does already.
        """
        super().__init__()
        if backbone.pruning is not None:
            raise BackboneError(
                f"{backbone.full_name} drops patches already, and its student would too: give the ViT that it was made"
                " from."
            )
        if backbone.precision.dtype is not torch.float32:
            raise ConfigError(
                f"the student cannot learn with weights in {backbone.precision}: load the ViT in fp32"
                " (backbone.precision=fp32). trainer.precision=bf16-mixed makes the training fast."
            )
        num_blocks = backbone.layer + 1
        if config.trained_blocks > num_blocks:
            raise ConfigError(
                f"student.trained_blocks={config.trained_blocks}: {backbone.full_name} has {num_blocks} blocks up to"
                f" the layer in use. Give 1 to {num_blocks}, or 0 for all of them."
            )
        self.backbone = copy.deepcopy(backbone)
        reader, layer = self.backbone.reader, self.backbone.layer
        self.backbone.vit.requires_grad_(not config.trained_blocks)
        for index, block in enumerate(reader.blocks):
            block.requires_grad_(
                index <= layer and (not config.trained_blocks or index > layer - config.trained_blocks)
            )
        if reader.norm is not None:
            reader.norm.requires_grad_(self.backbone.norm)
        if config.keep < 1:
            pruning = Pruning.of_depth(reader.facts.num_channels, num_blocks, config.keep)
            reader.drop_patches(pruning.to(backbone.device))
        self.denoiser = _linear_denoiser(self.backbone, config) if config.layers else None
        reader.set_grad_checkpointing(config.gradient_checkpointing)

    def forward(self, images: ImageBatch) -> Features:
        """Features of (B, 3, y, x) images, RGB in [0, 1], with gradients."""
        if self.denoiser is None:
            return self.backbone.forward_layers(images)[-1]
        patches, prefix, grid = denoiser_input(self.backbone, images, self.denoiser.config.layers)
        return Features(patches=self.denoiser(patches), prefix=prefix, grid=grid)

    @property
    def pruning(self) -> Pruning | None:
        """What drops patches in the ViT; None: it keeps all."""
        return self.backbone.pruning

    @property
    def kind(self) -> str:
        """The kind of model that is published, one of `dvt.weights.info.KINDS`."""
        return "distilled" if self.denoiser is None else "denoised"

    @property
    def about(self) -> str:
        """What is trained beside the ViT, for the note at the start."""
        dropped = ""
        if self.pruning is not None:
            places = ", ".join(map(str, self.pruning.places))
            dropped = f", which keeps {self.pruning.keep:g} of the patches after {places} blocks"
        if self.denoiser is None:
            return dropped
        inputs = self.denoiser.linear_mixing.linear.in_features
        return f"{dropped}, a linear layer on {len(self.denoiser.config.layers) + 1} block(s), {sums_text(inputs)}"

    @property
    def architecture(self) -> dict[str, Any]:
        """The architecture of what is behind the ViT, as `ModelInfo` holds it."""
        return {} if self.denoiser is None else self.denoiser.config.to_plain()

    def published_state(self, before: Backbone) -> dict[str, Tensor]:
        """The weights of the ViT by its library's names, or those of ViT and denoiser by the names of `joined_state`.

        Weights that were not trained are bit for bit those of the original ViT.

        Args:
            before: the original ViT. (A moving average also rounds weights that do not change.)
        """
        state: dict[str, Tensor] = self.backbone.vit.state_dict()
        before_state = before.vit.state_dict()
        trained = {name for name, parameter in self.backbone.vit.named_parameters() if parameter.requires_grad}
        plain = {name: tensor if name in trained else before_state.get(name, tensor) for name, tensor in state.items()}
        return plain if self.denoiser is None else joined_state(plain, self.denoiser.state_dict())


def _linear_denoiser(backbone: Backbone, config: StudentConfig) -> Denoiser:
    """A linear denoiser for the output of the ViT and its earlier blocks.

    Raises:
        ConfigError: blocks that are not before the layer in use.
    """
    architecture = DenoiserConfig(kind=Kind.linear, layers=config.layers).for_layers(backbone.layers, "student.layers")
    return Denoiser(architecture, backbone.num_channels, backbone.grid.hw)


def class_token_weight(backbone: Backbone, config: StudentConfig) -> float:
    """The weight of the class token's distance: as configured, else 0.1 if the ViT has a class token.

    Raises:
        ConfigError: a weight is given, and the ViT has no class token.
    """
    has_one = backbone.reader.facts.has_class_token
    if config.class_token_weight is None:
        return 0.1 if has_one else 0.0
    if config.class_token_weight and not has_one:
        raise ConfigError(
            f"student.class_token_weight={config.class_token_weight}: {backbone.full_name} has no class token."
            " Leave it out."
        )
    return config.class_token_weight
