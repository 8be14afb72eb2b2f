"""PASCAL VOC 2012, its segmentation part: 20 classes and background (Everingham et al. 2012)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from dvt.errors import EvaluationError
from dvt.evaluation.datasets.samples import SampleFiles, find_root
from dvt.evaluation.datasets.segmentation import LabelCodes, SegmentationSet
from dvt.evaluation.datasets.voc_boxes import read_voc_list

_LISTS: Final = "ImageSets/Segmentation"
_PLACES: Final = {"image": ("JPEGImages", ".jpg"), "target": ("SegmentationClass", ".png")}


def find_voc2012(root: Path, splits: Sequence[str]) -> dict[str, list[SampleFiles]]:
    """Files listed in train.txt and val.txt (1,464 and 1,449), in VOC2012, VOCdevkit or the folder above it."""
    parts = [*(f"{_LISTS}/{split}.txt" for split in splits), "JPEGImages", "SegmentationClass"]
    layout = f"VOCdevkit/VOC2012 with {_LISTS}/train.txt and val.txt, JPEGImages/ and SegmentationClass/"
    base = find_root(root, ("VOC2012", "VOCdevkit/VOC2012"), parts, layout)
    there = {folder: {path.name for path in (base / folder).iterdir()} for folder, _ in _PLACES.values()}
    return {split: _listed(base, split, there) for split in splits}


def _listed(base: Path, split: str, there: dict[str, set[str]]) -> list[SampleFiles]:
    list_path = base / _LISTS / f"{split}.txt"
    files = []
    for key in read_voc_list(list_path):
        paths = {what: base / folder / f"{key}{ending}" for what, (folder, ending) in _PLACES.items()}
        for what, path in paths.items():
            if path.name not in there[path.parent.name]:
                kind = "labels" if what == "target" else what
                raise EvaluationError(f"{list_path} lists {key}, but its {kind} {path} does not exist.")
        files.append(SampleFiles(key, **paths))
    return files


DATA: Final = SegmentationSet(
    class_names=(
        "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
        "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
    ),
    codes=LabelCodes(num_classes=21, void=255),  # 255: the border of objects, and what is hard to decide
    splits=("train", "val"),  # the test labels were never published
    find=find_voc2012,
)  # fmt: skip
