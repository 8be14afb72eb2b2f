"""Pictures to a video: .mp4 (H.264, by PyAV) or .gif (by Pillow)."""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from fractions import Fraction
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dvt.errors import DvtError

VIDEO_OUTPUTS = (".mp4", ".gif")
"""What `write_video` writes."""


def require_writer(path: str | Path) -> None:
    """Refuse a name that `write_video` cannot write to, before the work begins.

    Raises:
        DvtError: another ending, or PyAV is missing.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in VIDEO_OUTPUTS:
        raise DvtError(f"{path}: give a name that ends in .mp4 or .gif.")
    if suffix == ".mp4" and find_spec("av") is None:
        raise DvtError(f'{path} needs PyAV: pip install "dvt[video]", or give a name that ends in .gif.')


def write_video(path: str | Path, frames: Iterable[Image.Image], fps: float) -> int:
    """Write pictures of one size as a video, one at a time. The file appears when it is complete.

    Args:
        path: ends in .mp4 or .gif; an existing file is replaced; missing folders are made.
        frames: RGB pictures of one size; for .mp4 an odd last row or column is doubled.
        fps: pictures per second, above 0; a GIF counts in hundredths of a second and shows 50 at most.

    Returns:
        How many pictures were written.

    Raises:
        DvtError: another ending, no pictures or of several sizes, PyAV is missing, or the file cannot be written.
    """
    path = Path(path)
    require_writer(path)
    if fps <= 0:
        raise DvtError(f"fps={fps}: give more than 0 pictures per second.")
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    write = _write_gif if path.suffix.lower() == ".gif" else _write_mp4
    supply = iter(frames)
    first = next(supply, None)
    if first is None:
        raise DvtError(f"there is nothing to write to {path}: no pictures were given.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        count = write(temporary, chain([first], supply), first.size, fps)
        temporary.replace(path)
    except OSError as error:
        raise DvtError(f"{path} cannot be written: {error.strerror or error}. Give another place.") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    return count


def _write_gif(path: Path, frames: Iterator[Image.Image], size: tuple[int, int], fps: float) -> int:
    counted = _Counted(frames)
    colours = (frame.convert("RGB").quantize(128, dither=Image.Dither.NONE) for frame in counted)
    first = next(colours)
    with path.open("wb") as file:
        first.save(file, "GIF", save_all=True, append_images=colours, duration=max(20, round(1000 / fps)), loop=0)
    return counted.count


def _write_mp4(path: Path, frames: Iterator[Image.Image], size: tuple[int, int], fps: float) -> int:
    import av

    counted = _Counted(frames)
    with av.open(str(path), "w") as container:
        rate = Fraction(fps).limit_denominator(1000)
        stream: Any = container.add_stream("libx264", rate=rate, options={"crf": "18"})
        stream.width, stream.height = (side + side % 2 for side in size)  # the pixel format halves the colours
        stream.pix_fmt = "yuv420p"
        for picture in counted:
            frame: Any = av.VideoFrame.from_ndarray(np.asarray(_even(picture.convert("RGB"))), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return counted.count


class _Counted:
    """Pictures, counted as they pass; all have to be of the size of the first."""

    def __init__(self, frames: Iterator[Image.Image]):
        self._frames, self.count = frames, 0

    def __iter__(self) -> Iterator[Image.Image]:
        first: tuple[int, int] | None = None
        for frame in self._frames:
            first = first or frame.size
            self.count += 1
            if frame.size != first:
                raise DvtError(
                    f"picture {self.count} of the video is {frame.height} x {frame.width} px, the first"
                    f" {first[1]} x {first[0]} px (height x width). Give pictures of one size."
                )
            yield frame


def _even(picture: Image.Image) -> Image.Image:
    """With the last row and column doubled where their number is odd."""
    width, height = picture.size
    if width % 2 == height % 2 == 0:
        return picture
    even = Image.new("RGB", (width + width % 2, height + height % 2))
    even.paste(picture, (width % 2, height % 2))
    even.paste(picture, (0, 0))
    return even
