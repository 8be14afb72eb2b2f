"""Videos: a file -> its pictures, one at a time. GIF by Pillow, all else by PyAV (`pip install "dvt[video]"`)."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from PIL import Image, ImageSequence

from dvt.errors import ImageError
from dvt.images.paths import expand_home
from dvt.images.read import read_image
from dvt.shapes import ImageTensor

VIDEO_EXTENSIONS = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi")
"""File name endings that are taken for videos; an animated .gif is one, too."""


def is_video(path: str | Path) -> bool:
    """Whether a file is taken for a video: by its name, a GIF by having several pictures."""
    path = expand_home(path)
    if path.suffix.lower() != ".gif":
        return path.suffix.lower() in VIDEO_EXTENSIONS
    try:
        with Image.open(path, formats=("GIF",)) as image:
            return int(getattr(image, "n_frames", 1)) > 1
    except (OSError, ValueError):
        return False


@dataclass(frozen=True, slots=True)
class Video:
    """A video file; `for frame in video` decodes it anew and keeps one picture at a time."""

    path: Path
    """The file."""
    fps: float
    """Pictures per second of those that are given."""
    every: int = 1
    """Every n-th picture is given."""
    max_frames: int | None = None
    """At most so many are given."""

    @classmethod
    def open(cls, path: str | Path, *, every: int = 1, max_frames: int | None = None) -> "Video":
        """Look at a video file.

        Args:
            path: the file.
            every: give every n-th picture, at least 1.
            max_frames: give at most so many.

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
        """The pictures, (3, y, x) RGB in [0, 1], all of one size.

        Raises:
            ImageError: the file is damaged, or a picture has another size than the first.
        """
        pictures = _gif_frames(self.path) if self.path.suffix.lower() == ".gif" else _av_frames(self.path)
        stop = None if self.max_frames is None else self.max_frames * self.every
        first: tuple[int, int] | None = None
        for number, picture in enumerate(islice(pictures, 0, stop, self.every)):
            first = first or picture.size
            if picture.size != first:
                raise ImageError(
                    f"{self.path}: from the picture at about {number / self.fps:.2f} s on, it is {picture.height} x"
                    f" {picture.width} px, the first is {first[1]} x {first[0]} px (height x width). Convert it to one"
                    f" size, or stop before: max_frames={number}."
                )
            yield read_image(picture)


def require_av(path: Path) -> None:
    """Say how to get PyAV where it is missing.

    Raises:
        ImageError: it is not installed.
    """
    try:
        import av  # noqa: F401
    except ImportError as error:
        raise ImageError(
            f'{path} needs PyAV, which is not installed: pip install "dvt[video]", or use a .gif or a folder of images.'
        ) from error


def _gif_fps(path: Path) -> float:
    try:
        with Image.open(path, formats=("GIF",)) as image:
            milliseconds = float(image.info.get("duration", 100)) or 100.0
    except (OSError, ValueError) as error:
        raise ImageError(f"{path} is not a GIF, or damaged ({error}). Convert it, or copy it again.") from error
    return 1000.0 / milliseconds


def _gif_frames(path: Path) -> Iterator[Image.Image]:
    try:
        with Image.open(path, formats=("GIF",)) as image:
            for frame in ImageSequence.Iterator(image):
                yield frame.convert("RGBA")
    except (OSError, ValueError) as error:
        raise ImageError(f"{path} is damaged or truncated ({error}). Copy or convert it again.") from error


def _av_fps(path: Path) -> float:
    require_av(path)
    import av

    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise ImageError(f"{path} holds no pictures. Expected a video.")
            rate = container.streams.video[0].average_rate
    except av.FFmpegError as error:
        raise ImageError(f"{path} is not a video, or damaged ({error}). Convert it, or copy it again.") from error
    return float(rate) if rate else 25.0


def _av_frames(path: Path) -> Iterator[Image.Image]:
    import av

    try:
        with av.open(str(path)) as container:
            for frame in container.decode(container.streams.video[0]):
                yield Image.fromarray(frame.to_ndarray(format="rgb24"))
    except av.FFmpegError as error:
        raise ImageError(f"{path} is damaged or truncated ({error}). Copy or convert it again.") from error
