"""The images of a distillation as a PyTorch data set."""

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.data import Dataset

from dvt.backbone.preprocess import Preprocess
from dvt.distillation.config import DistillConfig, PicturesConfig
from dvt.errors import ImageError, TrainingError
from dvt.images import ImageFile, read_image
from dvt.runtime import seed_for
from dvt.training.batches import Draw
from dvt.training.split import split_by_share


class Pictures(Dataset[dict[str, Any]]):
    """`key` and `image` (3, y, x) of images, squashed to one size and mirrored by chance."""

    def __init__(self, images: Sequence[ImageFile], image_hw: tuple[int, int], config: DistillConfig, max_pixels: int):
        """Prepare the data set.

        Args:
            images: the files.
            image_hw: height and width in pixels that they are squashed to.
            config: how often a drawn image is mirrored, and the seed of the run.
            max_pixels: larger pictures are refused.
        """
        self._images, self._preprocess, self._max_pixels = images, Preprocess(image_hw), max_pixels
        self._flip_probability, self._seed = config.pictures.flip_probability, config.seed

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, item: Draw | int) -> dict[str, Any]:
        """A drawn image is mirrored if its draw says so; one that is asked for by number is shown as it is.

        Raises:
            ImageError: it cannot be read: an image is never left out or replaced without a word.
        """
        image = self._images[item.index if isinstance(item, Draw) else item]
        try:
            picture = self._preprocess(read_image(image.path, max_pixels=self._max_pixels))
        except ImageError as error:
            raise ImageError(
                f"{error}\nThe training stopped there. Put the image right and give the same command again; or leave it"
                " out of images= and add allow_changes=true."
            ) from error
        if isinstance(item, Draw) and self._flips(item.number):
            picture = picture.flip(-1)
        return {"key": image.key, "image": picture}

    def _flips(self, number: int) -> bool:
        rng = torch.Generator().manual_seed(seed_for(self._seed, f"draw {number}"))
        return float(torch.rand((), generator=rng)) < self._flip_probability


def split_images(images: Sequence[ImageFile], config: PicturesConfig) -> tuple[list[ImageFile], list[ImageFile]]:
    """Training and validation images. Each falls to one side by its key alone; both have at least one.

    Raises:
        TrainingError: there is one image only.
    """
    if len(images) < 2:
        raise TrainingError(
            f"{len(images)} image was given: one is needed to learn from and another to validate on. Give more images."
        )
    train, val = split_by_share([image.key for image in images], config.val_share, config.val_max)
    return [images[number] for number in train], [images[number] for number in val]


def data_hash(images: Sequence[ImageFile]) -> str:
    """Hash of which images these are, by their keys; the files are not opened."""
    digest = hashlib.sha256()
    for image in images:
        digest.update(f"{image.key}\n".encode())
    return digest.hexdigest()
