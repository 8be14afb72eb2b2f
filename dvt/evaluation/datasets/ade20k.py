"""ADE20K as in the scene parsing challenge of 2016: 150 classes (Zhou et al. 2017)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from dvt.evaluation.datasets.samples import SampleFiles, by_stem, find_root, is_png, pair
from dvt.evaluation.datasets.segmentation import LabelCodes, SegmentationSet

_FOLDERS: Final = {"train": "training", "val": "validation"}


def find_ade20k(root: Path, splits: Sequence[str]) -> dict[str, list[SampleFiles]]:
    """Files of some splits (20,210 and 2,000 in the original), in ADEChallengeData2016 or the folder above it."""
    folders = {split: _FOLDERS[split] for split in splits}
    parts = [f"{kind}/{folder}" for kind in ("images", "annotations") for folder in folders.values()]
    layout = "ADEChallengeData2016 with images/ and annotations/, each with training/ and validation/"
    base = find_root(root, ("ADEChallengeData2016",), parts, layout)
    found = {}
    for split, folder in folders.items():
        images, labels = base / "images" / folder, base / "annotations" / folder
        found[split] = pair(by_stem(images), by_stem(labels, is_png), f"{images} and {labels}")
    return found


DATA: Final = SegmentationSet(
    class_names=tuple(f"class {number}" for number in range(1, 151)),  # numbered as in its objectInfo150.txt
    codes=LabelCodes(num_classes=150, void=0, first=1),
    splits=tuple(_FOLDERS),  # the test labels were never published
    find=find_ade20k,
)
