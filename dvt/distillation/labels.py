"""Class labels of patches as a second target: token labeling (Jiang et al. 2021), from a linear classifier."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from dvt.backbone.backbone import Backbone
from dvt.backbone.sources.timm_reader import TimmReader
from dvt.backbone.sources.timm_weights import fetch_weights
from dvt.backbone.weights import RANDOM
from dvt.distillation.config import LabelsConfig
from dvt.errors import ConfigError, WeightsError
from dvt.shapes import FeatureMaps
from dvt.weights.read import read_state_dict

OWN: Final = "own"
"""`labels.classifier` of this value: the head in the weights of the ViT."""
_HEADS: Final = ("head.", "classifier.")
"""Where files of a ViT have its linear classifier, in timm and in transformers."""


class PatchLabels:
    """Soft scores of a frozen linear classifier on clean patches, and the loss of a student that learns them.

    The `top` classes of a clean patch keep their probabilities q_k; all others together are one more class, with the
    rest of the probability. The student's patch goes through the same classifier, and its probabilities p_k are
    collected in the same way. Its loss is the soft cross entropy -sum q_k log p_k, as in token labeling. It has no
    gradient where p = q, so that clean features are its minimum for every `top`.

    Attributes:
        top: number of classes with scores of their own.
        weights_hash: sha256 of the classifier.
    """

    def __init__(self, weight: Tensor, bias: Tensor, top: int):
        """Take a classifier.

        Args:
            weight: (K, C).
            bias: (K,).
            top: number of classes with scores of their own, 1 to K.
        """
        self._weight, self._bias, self.top = weight.detach().float(), bias.detach().float(), top
        digest = hashlib.sha256()
        for tensor in (self._weight, self._bias):
            digest.update(f"{tuple(tensor.shape)}\n".encode())
            digest.update(tensor.cpu().contiguous().numpy().tobytes())
        self.weights_hash = digest.hexdigest()

    @classmethod
    def of(cls, config: LabelsConfig, backbone: Backbone) -> "PatchLabels | None":
        """The labels that options ask for; None: none.

        Args:
            config: the options.
            backbone: the ViT whose clean features are classified.

        Raises:
            ConfigError: the head of a ViT is for other features than the backbone gives; `top` is above K.
            WeightsError: the classifier is missing, unreadable, or of another shape.
        """
        if not config.weight or config.classifier is None:
            return None
        path = _own_file(backbone) if config.classifier == OWN else config.classifier
        weight, bias, is_head = read_classifier(read_state_dict(path), backbone.num_channels, source=str(path))
        if is_head and not (backbone.norm and backbone.layers == (backbone.reader.facts.depth - 1,)):
            raise ConfigError(
                f"labels.classifier={config.classifier}: the head of a ViT reads its last block after the final norm,"
                f" and the features are of layer {backbone.layer} {'after' if backbone.norm else 'before'} the"
                " norm. Give a file with weight and bias of a classifier for these features."
            )
        if config.top > len(bias):
            raise ConfigError(
                f"labels.top={config.top}: the classifier has {len(bias)} classes. Give 1 to {len(bias)}."
            )
        return cls(weight, bias, config.top)

    def to(self, device: torch.device) -> None:
        """Move the classifier."""
        self._weight, self._bias = self._weight.to(device), self._bias.to(device)

    def loss(self, given: FeatureMaps, clean: FeatureMaps, weight: Tensor | None = None) -> Tensor:
        """The soft cross entropy, a mean over patches; in float32, also in mixed precision.

        Args:
            given: (B, H, W, C) patches of the student.
            clean: (B, H, W, C) clean patches, which get no gradient.
            weight: of each patch, of a shape that broadcasts to (B, H, W); None: 1.

        Examples:
            >>> labels = PatchLabels(torch.eye(3), torch.zeros(3), top=1)
            >>> patches = torch.tensor([2.0, 0.0, 0.0]).view(1, 1, 1, 3)
            >>> round(float(labels.loss(patches, patches)), 4)      # -q log q - (1 - q) log(1 - q), q = 0.787
            0.5179
        """
        with torch.autocast(given.device.type, enabled=False):
            with torch.no_grad():
                probabilities = functional.linear(clean.float(), self._weight, self._bias).softmax(dim=-1)
                scores, classes = probabilities.topk(self.top, dim=-1)
            logits = functional.linear(given.float(), self._weight, self._bias)
            total = logits.logsumexp(dim=-1)
            entropy = (scores * (total[..., None] - logits.gather(-1, classes))).sum(dim=-1)
            if self.top < len(self._bias):
                others = logits.scatter(-1, classes, -torch.inf).logsumexp(dim=-1)
                entropy = entropy + (1 - scores.sum(dim=-1)).clamp(min=0) * (total - others)
            return entropy.mean() if weight is None else (weight * entropy).mean()


def read_classifier(state: Mapping[str, Tensor], num_channels: int, *, source: str) -> tuple[Tensor, Tensor, bool]:
    """The linear classifier in a file.

    Args:
        state: names and tensors of the file.
        num_channels: C of the features to classify.
        source: the file, for errors.

    Returns:
        (K, C) weights, (K,) biases, and whether they are the head of a ViT in the file.

    Raises:
        WeightsError: there is none, it has another shape, or it reads pooled features behind a norm of their own.
    """
    place = next((each for each in ("", *_HEADS) if {f"{each}weight", f"{each}bias"} <= state.keys()), None)
    if place is None:
        names = ", ".join(list(state)[:4]) + (", ..." if len(state) > 4 else "")
        raise WeightsError(
            f"{source} holds no linear classifier (its keys: {names}): expected weight (K, C) and bias (K,), by"
            f" themselves or as {' or '.join(f'{each}weight' for each in _HEADS)}. Give such a file."
        )
    weight, bias, is_head = state[f"{place}weight"], state[f"{place}bias"], place != "" and len(state) > 2
    if weight.ndim != 2 or weight.shape[1] != num_channels or bias.shape != weight.shape[:1]:
        raise WeightsError(
            f"{source}: {place}weight has shape {tuple(weight.shape)} and {place}bias {tuple(bias.shape)}; expected"
            f" (K, {num_channels}) and (K,), as the features have {num_channels} channels. Give a classifier of these"
            " features."
        )
    if any(name.startswith("fc_norm.") for name in state):
        raise WeightsError(
            f"{source}: its head reads pooled features behind a norm of their own (fc_norm), which patches do not have."
            " Give a file with weight and bias of a classifier for patches."
        )
    return weight, bias, is_head


def _own_file(backbone: Backbone) -> Path:
    """The file that the weights of a ViT came from.

    Raises:
        ConfigError: there is none.
        WeightsError: the weights of the hub cannot be fetched.
    """
    if backbone.weights_file is not None and backbone.weights_file != RANDOM:
        return Path(backbone.weights_file)
    if backbone.weights_file == RANDOM or type(backbone.reader) is not TimmReader:
        raise ConfigError(
            f"labels.classifier={OWN} is for ViTs of timm with pretrained weights, not for {backbone.full_name}"
            f"{' with weights=random' if backbone.weights_file == RANDOM else ''}: give a file."
        )
    return fetch_weights(backbone.full_name)
