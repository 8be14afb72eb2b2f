"""From options to training and test pictures."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from dvt.errors import ConfigError
from dvt.evaluation.config.segmentation import DatasetName, SegmentationConfig, Split
from dvt.evaluation.datasets import ade20k, camvid, voc
from dvt.evaluation.datasets.labels import LabelledPictures

_READERS: Final = {
    DatasetName.camvid: (camvid.find_camvid, camvid.SPLITS, camvid.CLASSES),
    DatasetName.voc2012: (voc.find_voc2012, voc.SPLITS, voc.CLASSES),
    DatasetName.ade20k: (ade20k.find_ade20k, ade20k.SPLITS, ade20k.CLASSES),
}


@dataclass(frozen=True, slots=True)
class SegmentationData:
    """Labelled pictures to train and to test on."""

    class_names: tuple[str, ...]
    """In the order of the classes' numbers."""
    train: LabelledPictures
    """To train on."""
    test: LabelledPictures
    """To test on."""
    about: dict[str, Any]
    """Data set, split and counts, for the protocol of a task."""

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.class_names)


def find_data(config: SegmentationConfig, root: Path) -> SegmentationData:
    """The pictures that the options ask for. Lists are read and checked, pictures are not opened.

    Raises:
        ConfigError: the data set has no such split.
        EvaluationError: files are missing or do not pair.
    """
    find, known, class_names = _READERS[config.dataset]
    split = config.split or (Split.test if "test" in known else Split.val)
    if split.value not in known:
        there = ", ".join(name for name in known if name != "train")
        raise ConfigError(f"split={split}: {config.dataset} has no labels for it. Give {there}, or leave it out.")
    splits = find(root.expanduser(), ("train", split.value))
    train = splits["train"].evenly_spaced(config.num_train, "num_train")
    test = splits[split.value].evenly_spaced(config.num_test, "num_test")
    about = {
        "dataset": config.dataset.value,
        "split": split.value,
        "train_pictures": len(train),
        "test_pictures": len(test),
    }
    return SegmentationData(class_names, train, test, about)
