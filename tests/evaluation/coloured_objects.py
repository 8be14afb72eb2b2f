"""Tiny data sets with a coloured rectangle on a noisy background, as VOC, as DAVIS and as mask folders."""

import numpy as np
from PIL import Image

HW = (64, 96)
BOX = (24, 16, 56, 40)
"""Left, top, right, bottom; on the borders of patches of 8 px."""


def mask_array(box=BOX, hw=HW):
    mask = np.zeros(hw, np.uint8)
    mask[box[1] : box[3], box[0] : box[2]] = 255
    return mask


def image_array(box=BOX, hw=HW, seed=0):
    """Grey-green noise, and a red rectangle where there is a box."""
    rng = np.random.default_rng(seed)
    image = np.broadcast_to(np.array([70, 120, 90]), (*hw, 3)) + rng.integers(-20, 21, (*hw, 3))
    if box:
        image[box[1] : box[3], box[0] : box[2]] = (230, 40, 40)
    return image.astype(np.uint8)


def save_image(path, box=BOX, hw=HW, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image_array(box, hw, seed)).save(path, quality=95)


def save_mask(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def save_mask_with_void(path, border=4):
    """The rectangle as object 1 behind a palette, with a border of void around it, as in VOC."""
    left, top, right, bottom = BOX
    numbers = np.where(mask_array((left - border, top - border, right + border, bottom + border)), 255, 0)
    numbers[mask_array() > 0] = 1
    image = Image.fromarray(numbers.astype(np.uint8))
    image.putpalette(bytes(range(256)) * 3)
    image.save(path)


def write_davis(root, sequences=("dog", "swan"), frames=5, resolution="480p"):
    """Every frame has the rectangle but frame 2 of swan."""
    for sequence in sequences:
        for number in range(frames):
            box = None if (sequence, number) == ("swan", 2) else BOX
            save_image(root / "JPEGImages" / resolution / sequence / f"{number:05d}.jpg", box, seed=number)
            mask = mask_array() if box else mask_array((0, 0, 0, 0))
            save_mask(root / "Annotations" / resolution / sequence / f"{number:05d}.png", mask)
    return root


def write_voc(root, boxes=((BOX,), (), (BOX, (0, 0, 8, 8))), split="trainval", difficult=0):
    """An image for every tuple of boxes; the rectangle is drawn where the first box is."""
    names = [f"00000{number}" for number in range(len(boxes))]
    for folder in ("Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "ImageSets/Main" / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))
    for name, each in zip(names, boxes, strict=True):
        save_image(root / "JPEGImages" / f"{name}.jpg", each[0] if each else None)
        objects = "".join(
            f"<object><name>dog</name><difficult>{difficult}</difficult><bndbox><xmin>{left + 1}</xmin>"
            f"<ymin>{top + 1}</ymin><xmax>{right}</xmax><ymax>{bottom}</ymax></bndbox></object>"
            for left, top, right, bottom in each
        )
        (root / "Annotations" / f"{name}.xml").write_text(f"<annotation>{objects}</annotation>")
    return root


def write_folders(root, count=3, images="images", masks="masks", box=BOX):
    for number in range(count):
        save_image(root / images / f"{number}.jpg", box, seed=number)
        save_mask(root / masks / f"{number}.png", mask_array())
    return root
