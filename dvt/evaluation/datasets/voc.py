"""PASCAL VOC 2012, its segmentation part: 20 classes and background (Everingham et al. 2012)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from dvt.errors import EvaluationError
from dvt.evaluation.datasets.labels import LabelCodes, LabelledFiles, LabelledPictures, find_root

CLASSES: Final = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
"""Names of the classes, in the order of their numbers."""
CODES: Final = LabelCodes(num_classes=len(CLASSES), void=255)
"""0 to 20, 255 = the white border of objects, and what is hard to tell."""
SPLITS: Final = ("train", "val")
"""Each a list of names; the labels of test were never published."""
_LISTS = "ImageSets/Segmentation"
_PLACES = {"picture": ("JPEGImages", ".jpg"), "labels": ("SegmentationClass", ".png")}


def find_voc2012(root: Path, splits: Sequence[str] = SPLITS) -> dict[str, LabelledPictures]:
    """The pictures of train.txt and val.txt (1,464 and 1,449 in the original).

    Args:
        root: VOC2012, or VOCdevkit, or the folder that VOCdevkit lies in.
        splits: which; the lists of others need not be there.

    Raises:
        EvaluationError: something is missing, or a listed picture or its labels are.
    """
    parts = [*(f"{_LISTS}/{split}.txt" for split in splits), "JPEGImages", "SegmentationClass"]
    layout = f"VOCdevkit/VOC2012 with {_LISTS}/train.txt and val.txt, JPEGImages/ and SegmentationClass/"
    base = find_root(root, ("VOC2012", "VOCdevkit/VOC2012"), parts, layout)
    there = {folder: {path.name for path in (base / folder).iterdir()} for folder, _ in _PLACES.values()}
    return {split: LabelledPictures(_listed(base, split, there), CODES) for split in splits}


def _listed(base: Path, split: str, there: dict[str, set[str]]) -> list[LabelledFiles]:
    list_path = base / _LISTS / f"{split}.txt"
    keys = list_path.read_text(encoding="utf-8").split()
    if not keys:
        raise EvaluationError(f"{list_path} is empty; expected the name of a picture on every line.")
    files = []
    for key in keys:
        paths = {what: base / folder / f"{key}{ending}" for what, (folder, ending) in _PLACES.items()}
        for what, path in paths.items():
            if path.name not in there[path.parent.name]:
                raise EvaluationError(f"{list_path} lists {key}, but its {what} {path} does not exist.")
        files.append(LabelledFiles(key, **paths))
    return files
