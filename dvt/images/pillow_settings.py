"""Two process-wide switches of Pillow, set as we need them while pictures are read and put back afterwards."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from PIL import Image, ImageFile


@dataclass
class _Readers:
    """How many reads are under way in all threads, and the switches as the first of them found them."""

    count: int = 0
    max_image_pixels: int | None = None
    load_truncated: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)


_readers = _Readers()


@contextmanager
def pillow_settings() -> Iterator[None]:
    """While it is entered, Pillow has no pixel limit of its own and never fills up a truncated picture with grey.

    Pillow's limit warns, which our callers cannot catch across threads, and knows nothing of `max_pixels`; other
    packages switch `LOAD_TRUNCATED_IMAGES` on for the whole process. Counted, so that threads may decode side by side.
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
