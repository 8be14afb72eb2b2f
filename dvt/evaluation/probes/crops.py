"""Training crops of the paper's protocol: random scale, crop, mirror, change of colour, padding."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset
from torchvision.transforms.functional import adjust_hue

from dvt.evaluation.config.segmentation import WindowsConfig
from dvt.evaluation.datasets.samples import Sample
from dvt.images.resize import resize
from dvt.runtime import seed_for
from dvt.shapes import ImageTensor

PAD_COLOUR = (0.485, 0.456, 0.406)
"""Mean colour of ImageNet: 0 after the normalisation of most ViTs, near it after that of the others."""


class TrainingCrops(Dataset[tuple[Tensor, Tensor]]):
    """Crops in the order in which they are trained on; crop n depends on the seed and n alone.

    Every picture is used once before one is used again.
    """

    def __init__(self, samples: Sequence[Sample], config: WindowsConfig, seed: int):
        """Crops of some pictures.

        Args:
            samples: training pictures.
            config: how they are changed.
            seed: of the order and the changes.
        """
        self._samples, self._config, self._seed = samples, config, seed
        self._order: tuple[int, list[int]] = (-1, [])

    def __len__(self) -> int:
        return self._config.num_steps * self._config.batch_size

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """(3, size, size) RGB in [0, 1] and (size, size) classes, -1 for none."""
        if index >= len(self):
            raise IndexError(index)
        generator = torch.Generator().manual_seed(seed_for(self._seed, f"crop {index}"))
        sample = self._samples[self._picture(index)]
        return training_crop(sample.picture, sample.target, self._config, generator)

    def _picture(self, index: int) -> int:
        turn, place = divmod(index, len(self._samples))
        if self._order[0] != turn:
            generator = torch.Generator().manual_seed(seed_for(self._seed, f"turn {turn}"))
            self._order = turn, torch.randperm(len(self._samples), generator=generator).tolist()
        return self._order[1][place]


def training_crop(
    picture: ImageTensor, target: Tensor, config: WindowsConfig, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """One crop; what is beyond the picture's edge has `PAD_COLOUR` and no class.

    Args:
        picture: (3, y, x) RGB in [0, 1].
        target: (y, x) int64 classes, -1 for none.
        config: how it is changed.
        generator: of the draws.
    """
    scale = _uniform(generator, config.min_scale, config.max_scale)
    hw = scaled_hw(picture, scale * config.short_side, scale * config.long_side)
    picture = resize(picture, hw).clamp(0, 1)
    target = functional.interpolate(target[None, None].float(), hw, mode="nearest-exact")[0, 0].long()
    picture, target = _random_crop(picture, target, config, generator)
    if _happens(generator, config.flip):
        picture, target = picture.flip(2), target.flip(1)
    picture = distort(picture, config, generator)
    height, width = target.shape
    beyond = (0, config.size - width, 0, config.size - height)
    return pad_picture(picture, beyond), functional.pad(target, beyond, value=-1)


def scaled_hw(picture: ImageTensor, short_side: float, long_side: float) -> tuple[int, int]:
    """The largest height and width of the picture's aspect that exceed neither side."""
    _, height, width = picture.shape
    factor = min(short_side / min(height, width), long_side / max(height, width))
    return max(1, round(height * factor)), max(1, round(width * factor))


def pad_picture(picture: Tensor, beyond: tuple[int, int, int, int]) -> Tensor:
    """Surround a (3, y, x) picture by `PAD_COLOUR`: left, right, top, bottom, in pixels."""
    left, right, top, bottom = beyond
    _, height, width = picture.shape
    padded = torch.tensor(PAD_COLOUR).to(picture)[:, None, None].repeat(1, top + height + bottom, left + width + right)
    padded[:, top : top + height, left : left + width] = picture
    return padded


def distort(picture: ImageTensor, config: WindowsConfig, generator: torch.Generator) -> Tensor:
    """Photometric distortion (Liu et al. 2016, SSD): brightness, contrast, saturation, hue, each or not.

    Contrast comes before the colours or after them, by a further draw. Values stay in [0, 1].
    """
    if _happens(generator, config.distortion):
        picture = picture + _uniform(generator, -config.brightness, config.brightness)
    contrast_first = _happens(generator, 0.5)
    contrast = 1.0
    if _happens(generator, config.distortion):
        contrast = _uniform(generator, 1 - config.contrast, 1 + config.contrast)
    if contrast_first:
        picture = picture * contrast
    picture = picture.clamp(0, 1)
    if _happens(generator, config.distortion):
        picture = saturate(picture, _uniform(generator, 1 - config.saturation, 1 + config.saturation))
    if _happens(generator, config.distortion):
        picture = adjust_hue(picture, _uniform(generator, -config.hue, config.hue))
    return (picture if contrast_first else picture * contrast).clamp(0, 1)


def saturate(picture: Tensor, factor: float) -> Tensor:
    """Multiply the saturation S = 1 - min / max of every pixel, up to 1, with hue and value kept."""
    value = picture.amax(dim=0)
    distance = value - picture  # from the value; S is the largest of the three over the value
    most = value / distance.amax(dim=0).clamp(min=1e-12)
    return value - distance * most.clamp(max=factor)


def _random_crop(
    picture: Tensor, target: Tensor, config: WindowsConfig, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """A crop in which no class has too large a share; the last one that was drawn where there is none."""
    height, width = target.shape
    rows, columns = min(height, config.size), min(width, config.size)
    for _ in range(config.max_draws):
        top = int(torch.randint(height - rows + 1, (), generator=generator))
        left = int(torch.randint(width - columns + 1, (), generator=generator))
        box = slice(top, top + rows), slice(left, left + columns)
        labels = target[box]
        counts = torch.bincount(labels[labels >= 0])
        if len(counts) and int(counts.max()) < config.max_class_share * int(counts.sum()):
            break
    return picture[:, box[0], box[1]], labels


def _uniform(generator: torch.Generator, low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator))


def _happens(generator: torch.Generator, probability: float) -> bool:
    return float(torch.rand((), generator=generator)) < probability
