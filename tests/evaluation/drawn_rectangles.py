"""A tiny VOC data set: a red or a blue rectangle on grey noise in every image, anywhere."""

import numpy as np
from PIL import Image

HW = (64, 96)
COLOURS = {"blue": (40, 60, 230), "red": (230, 40, 40)}


def rectangle(rng):
    """Left, top, right, bottom of a rectangle in the image."""
    width, height = rng.integers(24, 41), rng.integers(24, 41)
    left, top = rng.integers(0, HW[1] - width + 1), rng.integers(0, HW[0] - height + 1)
    return tuple(int(side) for side in (left, top, left + width, top + height))


def draw(box, colour, rng):
    image = 100 + rng.integers(-20, 21, (*HW, 3))
    image[box[1] : box[3], box[0] : box[2]] = COLOURS[colour]
    return Image.fromarray(image.astype(np.uint8))


def annotation(objects):
    """The XML of (name, box, difficult)."""
    texts = "".join(
        f"<object><name>{name}</name><difficult>{int(difficult)}</difficult><bndbox><xmin>{left + 1}</xmin>"
        f"<ymin>{top + 1}</ymin><xmax>{right}</xmax><ymax>{bottom}</ymax></bndbox></object>"
        for name, (left, top, right, bottom), difficult in objects
    )
    return f"<annotation>{texts}</annotation>"


def write_rectangles(root, train=12, test=4, seed=0, colours=("blue", "red")):
    """Images of the lists trainval and test; their colours take turns."""
    rng = np.random.default_rng(seed)
    for folder in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for split, count in (("trainval", train), ("test", test)):
        names = [f"{split}{number:03d}" for number in range(count)]
        (root / f"ImageSets/Main/{split}.txt").write_text("".join(f"{name}\n" for name in names))
        for number, name in enumerate(names):
            box, colour = rectangle(rng), colours[number % len(colours)]
            draw(box, colour, rng).save(root / f"JPEGImages/{name}.png")
            (root / f"Annotations/{name}.xml").write_text(annotation([(colour, box, False)]))
    return root
