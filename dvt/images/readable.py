"""Which files of a list can be opened as images, before a long work begins."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from dvt.errors import ImageError
from dvt.images.formats import MAX_PIXELS
from dvt.images.read import check_header
from dvt.images.sources import ImageFile

_THREADS = 16
"""Files are opened at once: a network disk answers late, and many at a time."""


def split_readable(images: Sequence[ImageFile], max_pixels: int = MAX_PIXELS) -> tuple[list[ImageFile], dict[str, str]]:
    """Open every file and read its header; pixels are not decoded, so a damage behind the header is not found.

    Args:
        images: the files.
        max_pixels: larger images cannot be read.

    Returns:
        The files that can be read, in their order, and key and reason of the others.

    Raises:
        ImageError: none can be read.

    Examples:
        >>> import dvt
        >>> images, failed = split_readable(dvt.find_images("photos/"))
        >>> len(failed)
        0
    """

    def fault(image: ImageFile) -> str | None:
        try:
            check_header(image.path, max_pixels)
        except ImageError as error:
            return str(error)
        return None

    with ThreadPoolExecutor(_THREADS) as threads:
        faults = list(threads.map(fault, images))
    failed = {image.key: text for image, text in zip(images, faults, strict=True) if text is not None}
    if images and len(failed) == len(images):
        raise ImageError(f"none of {len(images)} images can be read; the first: {next(iter(failed.values()))}")
    return [image for image in images if image.key not in failed], failed
