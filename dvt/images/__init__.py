"""The first arrow of the flow: a spec -> a list of image files, a file -> a float RGB tensor.

`find_images` turns a file, folder, glob, list file or sequence of those into `ImageFile`s with stable keys.
`read_image` turns a file, PIL image, array or tensor into one kind of picture: (3, height, width) float32 in [0, 1].
"""

from dvt.images.formats import IMAGE_EXTENSIONS
from dvt.images.read import ImageLike, read_image
from dvt.images.sources import ImageFile, find_images

__all__ = ["IMAGE_EXTENSIONS", "ImageFile", "ImageLike", "find_images", "read_image"]
