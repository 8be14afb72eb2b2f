"""Image files that may be damaged or too large: the errors of the decoders, and limits that are checked before them."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase

from dvt.errors import DvtError, ImageError


@contextmanager
def damage_named(name: str) -> Iterator[None]:
    """Turn what a decoder raises into an ImageError that names the file: on damaged files errors of nearly every type.

    Raises:
        ImageError: in place of any other error.
    """
    try:
        yield
    except DvtError:
        raise
    except MemoryError as error:  # also of a damaged length, read before the size is known
        raise ImageError(
            f"{name} does not fit into the memory, or is damaged. Make it smaller, or copy or download it again."
        ) from error
    except Exception as error:
        raise ImageError(
            f"{name} is damaged or truncated ({error}). Expected a whole image; copy or download it again."
        ) from error


def check_size(name: str, size: tuple[int, int], max_pixels: int) -> None:
    """Check the number of pixels before an image is decoded.

    Args:
        name: of the image, for the error.
        size: width and height.
        max_pixels: the most that are allowed.

    Raises:
        ImageError: it has more pixels, or none.
    """
    width, height = size
    if width * height > max_pixels:
        raise ImageError(
            f"{name} has {width} x {height} = {width * height} pixels, more than the {max_pixels} allowed."
            f" If you trust it, allow it with max_pixels={width * height}; otherwise make it smaller."
        )
    if width * height == 0:
        raise ImageError(f"{name} has {width} x {height} pixels. Expected at least 1 x 1.")


def check_gif_frame(file: BufferedIOBase, name: str, max_pixels: int) -> None:
    """Check the size of the first frame of a GIF; Pillow fills a frame of that size when it opens the file.

    Args:
        file: an image of any format, at its beginning.
        name: of the image, for the error.
        max_pixels: the most that are allowed.

    Raises:
        ImageError: it has more pixels than are allowed.
        OSError: the file cannot be read.
    """
    head = file.read(13)
    if not head.startswith((b"GIF87a", b"GIF89a")) or len(head) < 13:
        return
    if head[10] & 128:
        file.seek(3 << (head[10] & 7) + 1, 1)
    while byte := file.read(1):
        if byte == b"!":
            file.seek(1, 1)
            _skip_blocks(file)
        elif byte == b",":
            place = file.read(8)
            if len(place) == 8:
                _, _, width, height = struct.unpack("<4H", place)
                if width * height > max_pixels:
                    check_size(name, (width, height), max_pixels)
            return


def _skip_blocks(file: BufferedIOBase) -> None:
    """Skip the blocks of an extension of a GIF, up to the empty one."""
    while length := file.read(1):
        if length == b"\0":
            return
        file.seek(length[0], 1)
