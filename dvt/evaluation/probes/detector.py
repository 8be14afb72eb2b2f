"""Detector: a feature pyramid and the heads of Faster R-CNN on frozen features.

The detector has its own coordinates, in which neighbouring patches are 16 units apart, whatever the ViT. The strides
of the levels are then 4, 8, 16, 32 and 64, and their anchors 32 to 512, the numbers of torchvision. It counts strides
in whole pixels, and would misplace the anchors of patches of 14 px.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import torch
from timm.layers.norm import LayerNorm2d
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead, FastRCNNPredictor
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import RPNHead
from torchvision.ops import MultiScaleRoIAlign

from dvt.evaluation.config.detection import DetectorConfig
from dvt.evaluation.datasets.boxed_images import TrueBoxes
from dvt.evaluation.probes.feature_pyramid import SCALES, SimpleFeaturePyramid
from dvt.grid import PatchGrid

_UNITS: Final = 16.0
_STRIDES: Final = tuple(round(_UNITS / scale) for scale in (*SCALES, 0.25))
_ANCHOR_STRIDES: Final = 8
"""Side of a square anchor, in strides of its level."""
_ASPECTS: Final = (0.5, 1.0, 2.0)
_ROI_CELLS: Final = 7
_CANDIDATES: Final = 5
"""Anchors of every level from which overlapping ones are removed, for every proposal."""


class Detections(NamedTuple):
    """What was found in an image."""

    boxes: Tensor
    """(N, 4) left, top, right, bottom in pixels of the image."""
    labels: Tensor
    """(N,) int64, numbers of the classes from 0."""
    scores: Tensor
    """(N,) in [0, 1]."""


class Detector(nn.Module):
    """Frozen features of a batch of images to losses, or to boxes; trained from scratch, seeded by the caller."""

    def __init__(self, mean: Tensor, std: Tensor, grid: PatchGrid, num_classes: int, config: DetectorConfig):
        """Build for the features of a method.

        Args:
            mean: (C,) of the training features.
            std: (C,) of the training features.
            grid: patches or cells of the features.
            num_classes: K.
            config: sizes.

        Raises:
            ConfigError: features of a number of cells per patch that the pyramid does not take.
        """
        super().__init__()
        self._grid = grid
        channels = config.channels
        anchors = _Anchors(tuple((_ANCHOR_STRIDES * stride,) for stride in _STRIDES), (_ASPECTS,) * len(_STRIDES))
        self._rcnn = FasterRCNN(
            SimpleFeaturePyramid(mean, std, channels, grid.fine),
            rpn_anchor_generator=anchors,
            rpn_head=RPNHead(channels, len(_ASPECTS), config.rpn_convs),
            rpn_pre_nms_top_n_train=_CANDIDATES * config.proposals,
            rpn_pre_nms_top_n_test=_CANDIDATES * config.proposals,
            rpn_post_nms_top_n_train=config.proposals,
            rpn_post_nms_top_n_test=config.proposals,
            box_roi_pool=MultiScaleRoIAlign([str(number) for number in range(len(SCALES))], _ROI_CELLS, 2),
            box_head=FastRCNNConvFCHead(
                (channels, _ROI_CELLS, _ROI_CELLS), [channels] * config.box_convs, [config.hidden], LayerNorm2d
            ),
            box_predictor=FastRCNNPredictor(config.hidden, num_classes + 1),  # class 0 is the background
            box_batch_size_per_image=config.boxes_per_image,
        )

    def losses(self, maps: Tensor, truth: Sequence[TrueBoxes]) -> Tensor:
        """The sum of the four losses of Faster R-CNN, a scalar; anchors and proposals are drawn at random.

        Args:
            maps: (B, H, W, C) features.
            truth: of every image.
        """
        self.train()
        targets = [self._target(each, maps.device) for each in truth]
        levels, images = self._rcnn.backbone(maps), self._images(maps)
        proposals, of_proposals = self._rcnn.rpn(images, levels, targets)
        _, of_boxes = self._rcnn.roi_heads(levels, proposals, images.image_sizes, targets)
        total: Tensor = sum({**of_proposals, **of_boxes}.values(), torch.zeros((), device=maps.device))
        return total

    @torch.no_grad()
    def detect(self, maps: Tensor, image_hws: Sequence[tuple[int, int]]) -> list[Detections]:
        """The boxes in every image, on the CPU.

        Args:
            maps: (B, H, W, C) features.
            image_hws: height and width of every image before it was resized.
        """
        self.eval()
        levels, images = self._rcnn.backbone(maps), self._images(maps)
        proposals, _ = self._rcnn.rpn(images, levels)
        found, _ = self._rcnn.roi_heads(levels, proposals, images.image_sizes)
        return [
            Detections(
                boxes=from_frame(each["boxes"].cpu(), self._grid, hw),
                labels=each["labels"].cpu() - 1,
                scores=each["scores"].cpu(),
            )
            for each, hw in zip(found, image_hws, strict=True)
        ]

    def _images(self, maps: Tensor) -> Any:
        """What torchvision asks about images: their number and size."""
        height, width = frame_hw(self._grid)
        return ImageList(maps.new_empty(len(maps), 0, height, width), [(height, width)] * len(maps))

    def _target(self, truth: TrueBoxes, device: torch.device) -> dict[str, Tensor]:
        boxes = to_frame(truth.boxes, self._grid, truth.hw)
        kept = (boxes[:, 2:] > boxes[:, :2]).all(dim=1) & ~truth.ignored
        return {"boxes": boxes[kept].to(device), "labels": truth.labels[kept].to(device) + 1}


class _Anchors(AnchorGenerator):  # type: ignore[misc]
    """Anchors at the strides of the levels; torchvision divides sizes, which is wrong for an odd number of patches."""

    def forward(self, image_list: Any, feature_maps: Sequence[Tensor]) -> list[Tensor]:
        """(anchors, 4) for every image."""
        first = feature_maps[0]
        self.set_cell_anchors(first.dtype, first.device)
        sizes = [[*each.shape[-2:]] for each in feature_maps]
        strides = [[torch.tensor(stride, device=first.device)] * 2 for stride in _STRIDES]
        return [torch.cat(self.grid_anchors(sizes, strides))] * len(image_list.image_sizes)


def frame_hw(grid: PatchGrid) -> tuple[int, int]:
    """Height and width of the detector's coordinates."""
    rows, columns = (count // grid.fine for count in grid.hw)
    return round(rows * _UNITS), round(columns * _UNITS)


def to_frame(boxes: Tensor, grid: PatchGrid, image_hw: tuple[int, int]) -> Tensor:
    """(N, 4) boxes in pixels of an image to the detector's coordinates, cut at their border.

    Args:
        boxes: left, top, right, bottom.
        grid: of the features.
        image_hw: height and width of the image before it was resized to that of the grid.
    """
    (height, width), (rows, columns) = image_hw, frame_hw(grid)
    scale = boxes.new_tensor([grid.image_hw[1] / width, grid.image_hw[0] / height] * 2)
    limits = boxes.new_tensor([columns, rows] * 2)
    return torch.minimum(((boxes * scale - grid.margin) * (_UNITS / grid.stride)).clamp(min=0), limits)


def from_frame(boxes: Tensor, grid: PatchGrid, image_hw: tuple[int, int]) -> Tensor:
    """The inverse of `to_frame`, cut at the border of the image."""
    height, width = image_hw
    scale = boxes.new_tensor([width / grid.image_hw[1], height / grid.image_hw[0]] * 2)
    limits = boxes.new_tensor([width, height] * 2)
    return torch.minimum(((boxes * (grid.stride / _UNITS) + grid.margin) * scale).clamp(min=0), limits)
