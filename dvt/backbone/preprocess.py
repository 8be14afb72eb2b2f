"""Preprocess: any image to what a backbone takes."""

from dataclasses import dataclass

from dvt.images.read import ImageLike, read_image
from dvt.images.resize import resize
from dvt.shapes import ResizedImage


@dataclass(frozen=True, slots=True)
class Preprocess:
    """`preprocess("cat.jpg")`: read an image and squash it to one size. Plain data, fit for data loader workers."""

    image_hw: tuple[int, int]
    """Height and width in pixels of the result."""

    def __call__(self, image: ImageLike) -> ResizedImage:
        """Read and resize an image.

        Args:
            image: a path, a PIL image, a (3, y, x) float tensor in [0, 1], or a (y, x, 3) uint8 array; any size and
                aspect.

        Returns:
            (3, height, width) RGB, not normalised: the model does that by itself. Bicubic, antialiased, clamped to
            [0, 1]. A tensor stays on its device, and one of the right size is returned as it is.

        Raises:
            ImageError: it is missing, damaged, or no image.
        """
        return resize(read_image(image), self.image_hw).clamp(0, 1)  # bicubic interpolation overshoots at edges
