"""Video sequences with a mask for every frame, in the layout of DAVIS 2016 and 2017."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dvt.errors import EvaluationError
from dvt.images.formats import has_image_extension

_FRAMES, _MASKS = Path("JPEGImages/480p"), Path("Annotations/480p")
_LISTS = ("ImageSets/2017/val.txt", "ImageSets/2016/val.txt", "ImageSets/480p/val.txt")
_LAYOUT = f"looked for {_FRAMES}/<sequence>/00000.jpg and {_MASKS}/<sequence>/00000.png"
_FEWEST = 3
"""The first and the last frame are not scored."""


@dataclass(frozen=True, slots=True)
class VideoSequence:
    """The frames of a sequence and their masks, in order, without the last frame (it is not scored)."""

    name: str
    """Name of its folder."""
    frames: tuple[Path, ...]
    """Image files, at least two."""
    masks: tuple[Path, ...]
    """Their masks."""


def find_sequences(data: Path, names: Sequence[str], max_frames: int | None) -> tuple[list[VideoSequence], str]:
    """The sequences, and the source of their names.

    Args:
        data: folder with JPEGImages/480p and Annotations/480p.
        names: of the sequences; empty: those of the first of ImageSets/2017/val.txt, ImageSets/2016/val.txt and
            ImageSets/480p/val.txt that exists, or all folders.
        max_frames: frames per sequence at most.

    Raises:
        EvaluationError: folders, frames or masks are missing.
    """
    for folder in (_FRAMES, _MASKS):
        if not (data / folder).is_dir():
            raise EvaluationError(f"{data} has no folder {folder}: {_LAYOUT}.")
    folders = sorted(folder.name for folder in (data / _FRAMES).iterdir() if folder.is_dir())
    wanted, source = (list(names), "as given") if names else _default_names(data, folders)
    if not wanted:
        raise EvaluationError(f"{data / _FRAMES} holds no sequences: {_LAYOUT}.")
    if unknown := [name for name in wanted if name not in folders]:
        raise EvaluationError(
            f"{data / _FRAMES} has no sequence {', '.join(unknown)} ({source}). It has {', '.join(folders) or 'none'}."
        )
    return [_sequence(data, name, max_frames) for name in wanted], source


def _default_names(data: Path, folders: list[str]) -> tuple[list[str], str]:
    for name in _LISTS:
        if (data / name).is_file():
            lines = (data / name).read_text(encoding="utf-8", errors="replace").splitlines()
            entries = [Path(line.split()[0]) for line in lines if line.strip()]
            if not entries:
                raise EvaluationError(f"{data / name} is empty. Expected names of sequences, one per line.")
            # Lists of 2017 name sequences, those of 2016 their frames and masks.
            found = [entry.parent.name if has_image_extension(entry) else entry.name for entry in entries]
            return list(dict.fromkeys(found)), name
    return folders, "all folders"


def _sequence(data: Path, name: str, max_frames: int | None) -> VideoSequence:
    frames = sorted(path for path in (data / _FRAMES / name).iterdir() if has_image_extension(path))[:max_frames]
    if len(frames) < _FEWEST:
        raise EvaluationError(
            f"{data / _FRAMES / name} holds {len(frames)} frames. Expected at least {_FEWEST}: the first and the last"
            " are not scored."
        )
    frames = frames[:-1]
    masks = [data / _MASKS / name / f"{frame.stem}.png" for frame in frames]
    if missing := [mask for mask in masks if not mask.is_file()]:
        raise EvaluationError(
            f"{name}: {len(missing)} of {len(masks)} masks are missing (first: {missing[0]}). Every frame but the last"
            " needs one, a PNG of the same name; leave the sequence out with sequences=[...] if it has none."
        )
    return VideoSequence(name, tuple(frames), tuple(masks))
