"""Two process-wide switches of Pillow, set while images are read and restored afterwards."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from PIL import Image, ImageFile


@dataclass
class _Readers:
    """Number of reads in progress in all threads, and the switches as the first of them found them."""

    count: int = 0
    max_image_pixels: int | None = None
    load_truncated: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)


_readers = _Readers()


@contextmanager
def pillow_settings() -> Iterator[None]:
    """Inside, Pillow has no pixel limit of its own and never fills up truncated images with grey.

    Pillow's limit is a warning, which cannot be caught across threads, and ignores `max_pixels`; other packages set
    `LOAD_TRUNCATED_IMAGES` for the whole process. Reads are counted, so that threads may decode at the same time.
    """
    with _readers.lock:
        if _readers.count == 0:
            _readers.max_image_pixels = Image.MAX_IMAGE_PIXELS
            _readers.load_truncated = ImageFile.LOAD_TRUNCATED_IMAGES
            Image.MAX_IMAGE_PIXELS = None
            ImageFile.LOAD_TRUNCATED_IMAGES = False
        _readers.count += 1
    try:
        yield
    finally:
        with _readers.lock:
            _readers.count -= 1
            if _readers.count == 0:
                Image.MAX_IMAGE_PIXELS = _readers.max_image_pixels
                ImageFile.LOAD_TRUNCATED_IMAGES = _readers.load_truncated
