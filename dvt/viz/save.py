"""Save images (PNG, JPEG) and videos (GIF by Pillow, MP4 with H.264 by PyAV). Files are replaced atomically."""

import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from PIL import Image

from dvt.errors import DvtError
from dvt.files import TEMP_SUFFIX, move_into_place, short_name, write_atomic

VIDEO_OUTPUTS = (".mp4", ".gif")
"""File name endings that `write_video` accepts."""

_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}


def save_png(image: Image.Image, path: str | Path) -> None:
    """Write an image as PNG, or as JPEG if the name ends in .jpg or .jpeg.

    The file has no metadata, so equal images give equal bytes.

    Args:
        image: the image; JPEG drops transparency.
        path: ends in .png, .jpg or .jpeg; an existing file is replaced atomically; missing folders are made.

    Raises:
        DvtError: another ending, or the file cannot be written.
    """
    path = Path(path)
    file_format = _FORMATS.get(path.suffix.lower())
    if file_format is None:
        raise DvtError(f"{path} ends in {path.suffix or 'no suffix'!r}. Give a name that ends in .png or .jpg.")
    bare = image.convert("RGB") if file_format == "JPEG" else image.copy()
    bare.info = {}
    buffer = io.BytesIO()
    with _writing(path):
        # Subsampled colour would blur letters and patches; PNG ignores quality and subsampling.
        bare.save(buffer, file_format, quality=95, subsampling=0)
        write_atomic(path, buffer.getvalue())


def require_writer(path: str | Path) -> None:
    """Refuse a file name that `write_video` cannot write, before the work begins.

    Raises:
        DvtError: another ending, or PyAV is missing.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in VIDEO_OUTPUTS:
        raise DvtError(f"{path}: give a name that ends in .mp4 or .gif.")
    if suffix == ".mp4" and find_spec("av") is None:
        raise DvtError(f'{path} needs PyAV: pip install "denoising-vit[video]", or give a name that ends in .gif.')


def write_video(path: str | Path, frames: Iterable[Image.Image], fps: float) -> int:
    """Write images of one size as a video, one image at a time.

    Args:
        path: ends in .mp4 or .gif; an existing file is replaced atomically; missing folders are made.
        frames: RGB images of one size; MP4 repeats an odd last row or column.
        fps: images per second, above 0; GIF rounds to hundredths of a second and shows at most 50 per second.

    Returns:
        Number of images written.

    Raises:
        DvtError: another ending, no images or several sizes, PyAV is missing, or the file cannot be written.
    """
    path = Path(path)
    require_writer(path)
    if fps <= 0:
        raise DvtError(f"fps={fps}: give more than 0 images per second.")
    supply = iter(frames)
    first = next(supply, None)
    if first is None:
        raise DvtError(f"there is nothing to write to {path}: no images were given.")
    counted = _Counted(chain([first], supply))
    temp = path.with_name(f".{short_name(path.name)}.{uuid4().hex[:8]}{TEMP_SUFFIX}")
    with _writing(path):
        try:
            if path.suffix.lower() == ".gif":
                _write_gif(temp, counted, fps)
            else:
                _write_mp4(temp, counted, first.size, fps)
            move_into_place(temp, path)
        finally:
            temp.unlink(missing_ok=True)
    return counted.count


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Make the folder of `path`; turn an `OSError` of an encoder into a `DvtError`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise DvtError(f"{path} cannot be written: {error.strerror or error}. Give another place.") from error


def _write_gif(path: Path, frames: Iterable[Image.Image], fps: float) -> None:
    colours = (frame.convert("RGB").quantize(128, dither=Image.Dither.NONE) for frame in frames)
    first = next(colours)
    with path.open("wb") as file:
        first.save(file, "GIF", save_all=True, append_images=colours, duration=max(20, round(1000 / fps)), loop=0)


def _write_mp4(path: Path, frames: Iterable[Image.Image], size: tuple[int, int], fps: float) -> None:
    import av

    with av.open(str(path), "w", format="mp4") as container:
        rate = Fraction(fps).limit_denominator(1000)
        stream: Any = container.add_stream("libx264", rate=rate, options={"crf": "18"})
        stream.width, stream.height = (side + side % 2 for side in size)  # yuv420p needs even sides
        stream.pix_fmt = "yuv420p"
        for image in frames:
            frame: Any = av.VideoFrame.from_ndarray(np.asarray(_even(image.convert("RGB"))), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


class _Counted:
    """Images, counted during iteration; each must have the size of the first."""

    def __init__(self, frames: Iterable[Image.Image]):
        self._frames, self.count = frames, 0

    def __iter__(self) -> Iterator[Image.Image]:
        first: tuple[int, int] | None = None
        for frame in self._frames:
            first = first or frame.size
            self.count += 1
            if frame.size != first:
                raise DvtError(
                    f"image {self.count} of the video is {frame.height} x {frame.width} px, the first"
                    f" {first[1]} x {first[0]} px (height x width). Give images of one size."
                )
            yield frame


def _even(image: Image.Image) -> Image.Image:
    """The image with its last row and column repeated where their number is odd."""
    width, height = image.size
    if width % 2 == height % 2 == 0:
        return image
    even = Image.new("RGB", (width + width % 2, height + height % 2))
    even.paste(image, (width % 2, height % 2))
    even.paste(image, (0, 0))
    return even
