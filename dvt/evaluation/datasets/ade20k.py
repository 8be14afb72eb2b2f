"""ADE20K as in the scene parsing challenge of 2016: 150 classes (Zhou et al. 2017)."""

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

CLASSES: Final = tuple(f"class {number}" for number in range(1, 151))
"""Numbered as in the data set's own objectInfo150.txt."""
CODES: Final = LabelCodes(num_classes=len(CLASSES), void=0, first=1)
"""1 to 150; 0 = other, which is not scored."""
_FOLDERS = {"train": "training", "val": "validation"}
SPLITS: Final = tuple(_FOLDERS)
"""The labels of the test pictures were never published."""


def find_ade20k(root: Path, splits: Sequence[str] = SPLITS) -> dict[str, LabelledPictures]:
    """The training and validation pictures (20,210 and 2,000 in the original).

    Args:
        root: ADEChallengeData2016, or the folder that it lies in.
        splits: which; the others need not be there.

    Raises:
        EvaluationError: something is missing, or pictures and labels do not pair.
    """
    folders = {split: _FOLDERS[split] for split in splits}
    parts = [f"{kind}/{folder}" for kind in ("images", "annotations") for folder in folders.values()]
    layout = "ADEChallengeData2016 with images/ and annotations/, each with training/ and validation/"
    base = find_root(root, ("ADEChallengeData2016",), parts, layout)
    found = {}
    for split, folder in folders.items():
        pictures, labels = base / "images" / folder, base / "annotations" / folder
        paired = pair(by_stem(pictures), by_stem(labels, is_png), f"{pictures} and {labels}")
        found[split] = LabelledPictures(paired, CODES)
    return found
