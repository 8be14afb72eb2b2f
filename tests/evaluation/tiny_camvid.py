"""Street scenes of a few pixels, in the files of CamVid: every class is a colour of its own."""

import numpy as np
from PIL import Image

from dvt.evaluation.datasets.camvid import DATA

COLOURS = np.stack(np.meshgrid([40, 215], [40, 215], [40, 128, 215], indexing="ij"), -1).reshape(-1, 3).astype(np.uint8)
"""(12, 3), of 11 classes and void."""


def blocks(rng, classes, hw=(48, 64), side=8):
    """(y, x) uint8 labels: squares of one class each, drawn from some."""
    coarse = rng.choice(np.array(classes, np.uint8), (hw[0] // side, hw[1] // side))
    return np.kron(coarse, np.ones((side, side), np.uint8))


def write_scene(root, split, name, labels):
    """An image in the colours of its labels, and the labels."""
    for folder in (split, f"{split}annot"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    Image.fromarray(COLOURS[labels]).save(root / split / f"{name}.png")
    Image.fromarray(labels).save(root / f"{split}annot" / f"{name}.png")


def write_camvid(root, counts=(4, 2, 3), classes=(0, 1, 3, 5, DATA.codes.void), seed=0):
    """A data set with some images in train, val and test."""
    rng = np.random.default_rng(seed)
    for split, count in zip(("train", "val", "test"), counts, strict=True):
        for number in range(count):
            write_scene(root, split, f"{split}_{number}", blocks(rng, classes))
    return root
