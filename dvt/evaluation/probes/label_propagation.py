"""Label propagation: labels move from frame to frame by feature similarity (DINO, Caron et al. 2021)."""

from collections import deque

import torch
from torch import Tensor
from torch.nn import functional

from dvt.evaluation.config.video import VideoSegmentationConfig
from dvt.shapes import FeatureMap

_ROWS_AT_ONCE = 512
"""Patches of the current frame that are compared with all others at once; bounds memory."""


class LabelPropagation:
    """Soft labels of one frame after the other, from those of the first frame.

    It keeps features and labels of the first frame and of the last `previous_frames`.
    """

    def __init__(self, first: FeatureMap, labels: Tensor, config: VideoSegmentationConfig):
        """Begin a sequence.

        Args:
            first: (H, W, C) features of the first frame.
            labels: (H, W, K) share of each patch that belongs to each of K labels.
            config: number of frames, neighbourhood, top k and temperature.
        """
        self._config = config
        self._hw = first.shape[:2]
        self._first = (_unit(first), labels.flatten(0, 1))
        self._previous: deque[tuple[Tensor, Tensor]] = deque(maxlen=config.previous_frames)

    def step(self, features: FeatureMap) -> Tensor:
        """(H, W, K) soft labels of the next frame, from its (H, W, C) features."""
        current = _unit(features)
        sources = [self._first, *self._previous]
        keys = torch.stack([each for each, _ in sources])
        labels = torch.cat([each for _, each in sources])
        parts = torch.split(torch.arange(len(current), device=current.device), _ROWS_AT_ONCE)
        propagated = torch.cat([self._labels(current[part], keys, labels, part) for part in parts])
        self._previous.append((current, propagated))
        return propagated.reshape(*self._hw, -1)

    def _labels(self, current: Tensor, keys: Tensor, labels: Tensor, part: Tensor) -> Tensor:
        """(N, K) labels of some patches of the current frame.

        Args:
            current: (N, C) their features.
            keys: (S, HW, C) features of the source frames.
            labels: (S HW, K) their labels.
            part: (N,) indices of the patches.
        """
        similarity = torch.einsum("nc,spc->nsp", current, keys)
        similarity = similarity.masked_fill(~self._is_near(part)[:, None], -torch.inf).flatten(1)
        best = similarity.topk(min(self._config.top_k, similarity.shape[1]), dim=1)
        weights = (best.values / self._config.temperature).softmax(dim=1)
        return torch.einsum("nk,nkl->nl", weights, labels[best.indices])

    def _is_near(self, part: Tensor) -> Tensor:
        """(N, HW) whether a patch is in the neighbourhood of each of some patches."""
        height, width = self._hw
        everywhere = torch.arange(height * width, device=part.device)
        rows = (part[:, None] // width - everywhere // width).abs()
        columns = (part[:, None] % width - everywhere % width).abs()
        return torch.maximum(rows, columns) <= self._config.neighbourhood


def _unit(features: FeatureMap) -> Tensor:
    """(HW, C) of length 1."""
    return functional.normalize(features.flatten(0, 1), dim=-1)
