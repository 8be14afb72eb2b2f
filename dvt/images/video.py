"""Videos: a file -> its frames, one at a time. GIF by Pillow, all else by PyAV (`pip install "denoising-vit[video]"`).

`for frame in Video.open(path)` decodes the file in every pass. For several passes:

    with Video.open(path).buffered() as frames:      # decoded once
        count = sum(1 for _ in frames)
        for frame in frames: ...
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from PIL import Image, ImageSequence

from dvt.errors import ImageError
from dvt.images.formats import MAX_PIXELS
from dvt.images.read import read_image
from dvt.images.untrusted import check_size, damage_named
from dvt.paths import expand_home
from dvt.shapes import ImageTensor

VIDEO_EXTENSIONS = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi")
"""Extensions of videos; an animated .gif is one, too."""

_TURNS = {
    (-1, 0, 0, 1): Image.Transpose.FLIP_LEFT_RIGHT,
    (-1, 0, 0, -1): Image.Transpose.ROTATE_180,
    (1, 0, 0, -1): Image.Transpose.FLIP_TOP_BOTTOM,
    (0, 1, 1, 0): Image.Transpose.TRANSPOSE,
    (0, 1, -1, 0): Image.Transpose.ROTATE_270,
    (0, -1, -1, 0): Image.Transpose.TRANSVERSE,
    (0, -1, 1, 0): Image.Transpose.ROTATE_90,
}
"""What brings a frame upright, by the signs of a, b, c and d of its display matrix."""
_BUFFER_BYTES = 4 * 2**30
"""Frames kept on disk by `BufferedVideo`: 1,550 frames of 1280 x 720."""


def is_video(path: str | Path) -> bool:
    """Whether a file is a video: by its extension; a GIF if it has several frames."""
    path = expand_home(path)
    if path.suffix.lower() != ".gif":
        return path.suffix.lower() in VIDEO_EXTENSIONS
    try:
        with damage_named(str(path)), Image.open(path, formats=("GIF",)) as image:
            return int(getattr(image, "n_frames", 1)) > 1
    except ImageError:
        return False


@dataclass(frozen=True, slots=True)
class Video:
    """A video file; `for frame in video` decodes it and keeps one frame in memory."""

    path: Path
    """The file."""
    fps: float
    """Frames per second, of those that are given."""
    every: int = 1
    """Every n-th frame is given."""
    max_frames: int | None = None
    """Number of frames given at most."""

    @classmethod
    def open(cls, path: str | Path, *, every: int = 1, max_frames: int | None = None) -> "Video":
        """Open a video file.

        Args:
            path: the file.
            every: give every n-th frame, at least 1.
            max_frames: give this many at most.

        Raises:
            ImageError: missing, unreadable, or PyAV is needed and not installed.
        """
        path = expand_home(path)
        if every < 1 or (max_frames is not None and max_frames < 1):
            raise ImageError(f"every={every}, max_frames={max_frames}: give 1 or more.")
        if not path.is_file():
            raise ImageError(f"{path} does not exist, or is no file. Expected a video; check the path.")
        fps = _gif_fps(path) if path.suffix.lower() == ".gif" else _av_fps(path)
        return cls(path, fps / every, every, max_frames)

    def __iter__(self) -> Iterator[ImageTensor]:
        """The frames, (3, y, x) RGB in [0, 1], all of one size.

        Raises:
            ImageError: the file is damaged, or a frame has another size than the first.
        """
        return map(read_image, self.decode())

    def decode(self) -> Iterator[Image.Image]:
        """The frames as Pillow images; errors as in `__iter__`."""
        frames = _gif_frames(self.path) if self.path.suffix.lower() == ".gif" else _av_frames(self.path)
        stop = None if self.max_frames is None else self.max_frames * self.every
        first: tuple[int, int] | None = None
        for number, frame in enumerate(islice(frames, 0, stop, self.every)):
            first = first or frame.size
            if frame.size != first:
                raise ImageError(
                    f"{self.path}: from the frame at about {number / self.fps:.2f} s on, it is {frame.height} x"
                    f" {frame.width} px, the first is {first[1]} x {first[0]} px (height x width). Convert it to one"
                    f" size, or stop before: max_frames={number}."
                )
            yield frame

    def buffered(self) -> "BufferedVideo":
        """The frames for several passes, decoded once."""
        return BufferedVideo(self)


class BufferedVideo:
    """Frames of a video for several passes: the first one decodes them into a temporary file.

    Frames beyond 4 GB, or beyond the space on the disk, are decoded again in every pass. The file is deleted when the
    object is closed or garbage collected.
    """

    def __init__(self, video: Video, max_bytes: int = _BUFFER_BYTES) -> None:
        self._video, self._max_bytes = video, max_bytes
        self._file = tempfile.TemporaryFile(buffering=0)
        self._mode, self._size, self._frame_bytes = "", (0, 0), 0
        self._kept = 0
        self._is_full, self._is_complete = False, False

    def __enter__(self) -> "BufferedVideo":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Delete the temporary file."""
        self._file.close()

    def __del__(self) -> None:
        """Delete the temporary file."""
        self.close()

    def __iter__(self) -> Iterator[ImageTensor]:
        """The frames and errors of `Video`."""
        number = 0
        while number < self._kept:
            self._file.seek(number * self._frame_bytes)
            yield read_image(Image.frombytes(self._mode, self._size, self._file.read(self._frame_bytes)))
            number += 1
        if self._is_complete:
            return
        for position, frame in enumerate(islice(self._video.decode(), number, None), number):
            self._keep(position, frame)
            yield read_image(frame)
        self._is_complete = not self._is_full

    def _keep(self, position: int, frame: Image.Image) -> None:
        if self._is_full or position != self._kept:
            return
        data = frame.tobytes()
        self._mode, self._size, self._frame_bytes = frame.mode, frame.size, len(data)
        try:
            self._file.seek(position * len(data))
            self._is_full = (position + 1) * len(data) > self._max_bytes or self._file.write(data) < len(data)
        except OSError:  # no space left: the rest is decoded again
            self._is_full = True
        if not self._is_full:
            self._kept += 1


def require_av(path: Path) -> None:
    """Say how to get PyAV if it is missing.

    Raises:
        ImageError: it is not installed.
    """
    try:
        import av  # noqa: F401
    except ImportError as error:
        raise ImageError(
            f'{path} needs PyAV, which is not installed: pip install "denoising-vit[video]", or use a .gif or a folder'
            " of images."
        ) from error


def _gif_fps(path: Path) -> float:
    with damage_named(str(path)), Image.open(path, formats=("GIF",)) as image:
        milliseconds = float(image.info.get("duration", 100)) or 100.0
    return 1000.0 / milliseconds


def _gif_frames(path: Path) -> Iterator[Image.Image]:
    with damage_named(str(path)), Image.open(path, formats=("GIF",)) as image:
        for frame in ImageSequence.Iterator(image):
            check_size(str(path), frame.size, MAX_PIXELS)
            yield frame.convert("RGBA")


def _av_fps(path: Path) -> float:
    require_av(path)
    import av

    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise ImageError(f"{path} holds no frames. Expected a video.")
            rate = container.streams.video[0].average_rate
    except av.FFmpegError as error:
        raise ImageError(f"{path} is not a video, or damaged ({error}). Convert it, or copy it again.") from error
    return float(rate) if rate else 25.0


def _turn(matrix: Any) -> Image.Transpose | None:
    """What brings a frame upright, by the display matrix of its file; None where it is, or is tilted.

    The matrix (a b u; c d v; x y w), nine 32-bit numbers, takes a pixel at (p, q) to (a p + c q + x, b p + d q + y).
    """
    if matrix is None:
        return None
    a, b, _, c, d, *_ = np.frombuffer(memoryview(matrix), dtype=np.int32).tolist()
    return _TURNS.get(tuple((number > 0) - (number < 0) for number in (a, b, c, d)))


def _av_frames(path: Path) -> Iterator[Image.Image]:
    import av

    try:
        with av.open(str(path)) as container:
            for frame in container.decode(container.streams.video[0]):
                turn = _turn(frame.side_data.get("DISPLAYMATRIX"))
                image = Image.fromarray(frame.to_ndarray(format="rgb24"))
                yield image if turn is None else image.transpose(turn)
    except av.FFmpegError as error:
        raise ImageError(f"{path} is damaged or truncated ({error}). Copy or convert it again.") from error
