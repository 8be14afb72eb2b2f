"""Student: the ViT that learns to give clean features by itself."""

import copy
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from dvt.backbone.backbone import Backbone
from dvt.backbone.features import FeatureExtractor, Features
from dvt.distillation.config import StudentConfig
from dvt.errors import ConfigError
from dvt.shapes import ImageBatch


@runtime_checkable
class Teacher(FeatureExtractor, Protocol):
    """A feature extractor with a ViT inside, such as a `DenoisedBackbone` or an `SrtBackbone`."""

    @property
    def backbone(self) -> Backbone:
        """The ViT; the student begins as a copy of it and is read at the same layer."""

    @property
    def weights_hash(self) -> str:
        """Identifies all weights of the teacher, and the settings where it has any."""

    @property
    def settings(self) -> dict[str, Any]:
        """What its features depend on beside its weights, as plain JSON; empty where there is nothing."""


class Student(nn.Module):
    """A copy of a frozen ViT, of which all or the last blocks are trained.

    It computes as the ViT does in use, without dropout. What lies behind the layer that is read stays as it is.
    """

    def __init__(self, backbone: Backbone, config: StudentConfig):
        """Copy a ViT.

        Args:
            backbone: the ViT; it is left alone.
            config: what is trained.

        Raises:
            ConfigError: the ViT is not in fp32, or has fewer blocks.
        """
        super().__init__()
        if backbone.precision.dtype is not torch.float32:
            raise ConfigError(
                f"the student cannot learn with weights in {backbone.precision}: load the ViT in fp32"
                " (backbone.precision=fp32). trainer.precision=bf16-mixed makes the training fast."
            )
        num_blocks = backbone.layer + 1
        if config.trained_blocks > num_blocks:
            raise ConfigError(
                f"student.trained_blocks={config.trained_blocks}: {backbone.timm_name} has {num_blocks} blocks up to"
                f" the layer that is read. Give 1 to {num_blocks}, or 0 for all that is read."
            )
        self.backbone = copy.deepcopy(backbone)
        self._unfreeze(config.trained_blocks)
        self.backbone.vit.set_grad_checkpointing(config.gradient_checkpointing)

    def forward(self, images: ImageBatch) -> Features:
        """The features of (B, 3, y, x) pictures, RGB in [0, 1], with gradients."""
        return self.backbone.forward_layers(images)[-1]

    def plain_state(self, before: Backbone) -> dict[str, Tensor]:
        """The weights with the names of the timm model; what was not trained is, bit for bit, that of the ViT before.

        Args:
            before: the ViT that the student was copied from. (A moving average rounds also what stands still.)
        """
        state: dict[str, Tensor] = self.backbone.vit.state_dict()
        trained = {name for name, parameter in self.backbone.vit.named_parameters() if parameter.requires_grad}
        return {
            name: tensor if name in trained else before_tensor
            for (name, tensor), before_tensor in zip(state.items(), before.vit.state_dict().values(), strict=True)
        }

    def _unfreeze(self, trained_blocks: int) -> None:
        vit, layer = self.backbone.vit, self.backbone.layer
        if trained_blocks:
            for block in vit.blocks[layer + 1 - trained_blocks : layer + 1]:
                block.requires_grad_(True)
            vit.norm.requires_grad_(self.backbone.norm)
        else:
            vit.requires_grad_(True)
            vit.blocks[layer + 1 :].requires_grad_(False)
            vit.norm.requires_grad_(self.backbone.norm)


def class_token_weight(backbone: Backbone, config: StudentConfig) -> float:
    """The weight of the class token's distance: as asked for, else 1 where there is a class token.

    Raises:
        ConfigError: it was asked for, and the ViT has no class token.
    """
    has_one = backbone.vit.cls_token is not None
    if config.class_token_weight is None:
        return 1.0 if has_one else 0.0
    if config.class_token_weight and not has_one:
        raise ConfigError(
            f"student.class_token_weight={config.class_token_weight}: {backbone.timm_name} has no class token."
            " Leave it out."
        )
    return config.class_token_weight
