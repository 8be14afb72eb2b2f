"""Training crops of the paper's protocol for segmentation: random scale, crop, flip, colour distortion, padding."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset
from torchvision.transforms.v2.functional import adjust_hue

from dvt.evaluation.config.segmentation import WindowsConfig
from dvt.evaluation.datasets.samples import Sample
from dvt.images.resize import resize
from dvt.runtime import seed_for
from dvt.shapes import ImageTensor

PAD_COLOUR = (0.485, 0.456, 0.406)
"""Mean colour of ImageNet: 0 after the normalisation of most ViTs, near it after that of the others."""


class TrainingCrops(Dataset[tuple[Tensor, Tensor]]):
    """Crops in training order; crop n depends only on the seed and n. Every image is used once before one repeats."""

    def __init__(self, samples: Sequence[Sample], config: WindowsConfig, seed: int):
        """Crops of the training images `samples`; `seed` sets their order and changes."""
        self._samples, self._config, self._seed = samples, config, seed
        self._order: tuple[int, list[int]] = (-1, [])

    def __len__(self) -> int:
        return self._config.num_steps * self._config.batch_size

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """(3, size, size) RGB in [0, 1] and (size, size) classes, -1 for none."""
        if index >= len(self):
            raise IndexError(index)
        generator = torch.Generator().manual_seed(seed_for(self._seed, f"crop {index}"))
        sample = self._samples[self.image_number(index)]
        return training_crop(sample.image, sample.target, self._config, generator)

    def image_number(self, index: int) -> int:
        """Which image crop `index` is cut from."""
        turn, place = divmod(index, len(self._samples))
        if self._order[0] != turn:
            generator = torch.Generator().manual_seed(seed_for(self._seed, f"turn {turn}"))
            self._order = turn, torch.randperm(len(self._samples), generator=generator).tolist()
        return self._order[1][place]


def training_crop(
    image: ImageTensor, target: Tensor, config: WindowsConfig, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """A random crop; beyond the edge of the image it has `PAD_COLOUR` and no class.

    Args:
        image: (3, y, x) RGB in [0, 1].
        target: (y, x) int64 classes, -1 for none.
        config: size and changes.
        generator: of all draws.
    """
    scale = _uniform(generator, config.min_scale, config.max_scale)
    hw = scaled_hw(image, scale * config.short_side, scale * config.long_side)
    image = resize(image, hw).clamp(0, 1)
    target = functional.interpolate(target[None, None].float(), hw, mode="nearest-exact")[0, 0].long()
    image, target = _random_crop(image, target, config, generator)
    if _happens(generator, config.flip):
        image, target = image.flip(2), target.flip(1)
    image = distort(image, config, generator)
    height, width = target.shape
    beyond = (0, config.size - width, 0, config.size - height)
    return pad_image(image, beyond), functional.pad(target, beyond, value=-1)


def scaled_hw(image: ImageTensor, short_side: float, long_side: float) -> tuple[int, int]:
    """The largest height and width of the image's aspect that exceed neither side."""
    _, height, width = image.shape
    factor = min(short_side / min(height, width), long_side / max(height, width))
    return max(1, round(height * factor)), max(1, round(width * factor))


def pad_image(image: Tensor, beyond: tuple[int, int, int, int]) -> Tensor:
    """Surround a (3, y, x) image by `PAD_COLOUR`: left, right, top, bottom, in pixels."""
    left, right, top, bottom = beyond
    _, height, width = image.shape
    padded = torch.tensor(PAD_COLOUR).to(image)[:, None, None].repeat(1, top + height + bottom, left + width + right)
    padded[:, top : top + height, left : left + width] = image
    return padded


def distort(image: ImageTensor, config: WindowsConfig, generator: torch.Generator) -> Tensor:
    """Photometric distortion (Liu et al. 2016, SSD): brightness, contrast, saturation, hue, each at random.

    Contrast comes before or after the colours, at random. Values stay in [0, 1]. torchvision's
    `RandomPhotometricDistort` differs from the paper's: it multiplies brightness, blends contrast with the mean grey
    and saturation with the grey image, and permutes channels.
    """
    if _happens(generator, config.distortion):
        image = image + _uniform(generator, -config.brightness, config.brightness)
    contrast_first = _happens(generator, 0.5)
    contrast = 1.0
    if _happens(generator, config.distortion):
        contrast = _uniform(generator, 1 - config.contrast, 1 + config.contrast)
    if contrast_first:
        image = image * contrast
    image = image.clamp(0, 1)
    if _happens(generator, config.distortion):
        image = saturate(image, _uniform(generator, 1 - config.saturation, 1 + config.saturation))
    if _happens(generator, config.distortion):
        image = adjust_hue(image, _uniform(generator, -config.hue, config.hue))
    return (image if contrast_first else image * contrast).clamp(0, 1)


def saturate(image: Tensor, factor: float) -> Tensor:
    """Multiply the HSV saturation of every pixel, up to 1; hue and value stay."""
    value = image.amax(dim=0)
    distance = value - image  # saturation is the largest of the three over the value
    most = value / distance.amax(dim=0).clamp(min=1e-12)
    return value - distance * most.clamp(max=factor)


def _random_crop(
    image: Tensor, target: Tensor, config: WindowsConfig, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """A crop in which no class has too large a share; the last one drawn where there is none."""
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
    return image[:, box[0], box[1]], labels


def _uniform(generator: torch.Generator, low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator))


def _happens(generator: torch.Generator, probability: float) -> bool:
    return float(torch.rand((), generator=generator)) < probability
