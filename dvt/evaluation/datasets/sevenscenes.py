"""7-Scenes: one room, recorded frame by frame (Shotton et al. 2013)."""

import re
from collections.abc import Sequence
from pathlib import Path

from dvt.errors import EvaluationError
from dvt.evaluation.config.depth import SevenScenesConfig
from dvt.evaluation.datasets.samples import SampleFiles

_LAYOUT = (
    "looked for frame-XXXXXX.depth.png with frame-XXXXXX.color.jpg or .color.png beside it, in the folder itself or in"
    " its folders seq-XX (unpacked)"
)
_LISTS = ("TrainSplit.txt", "TestSplit.txt")
_DEPTH, _COLOURS = ".depth.png", (".color.jpg", ".color.png")


def find_sevenscenes(data: Path, config: SevenScenesConfig) -> tuple[list[SampleFiles], list[SampleFiles], str]:
    """Training and test frames of the scene in the folder `data`, and a description of the split.

    TrainSplit.txt and TestSplit.txt split the sequences where both exist; otherwise the frames of every sequence are
    split by `split_blocks`.

    Raises:
        EvaluationError: frames or lists are missing.
    """
    folders = sorted(folder for folder in data.glob("seq-*") if folder.is_dir()) if data.is_dir() else []
    sequences = {folder.name: _frames(folder, data) for folder in folders or [data]}
    if not any(sequences.values()):
        raise EvaluationError(f"{data} holds no frames of 7-Scenes: {_LAYOUT}.")
    lists = [name for name in _LISTS if (data / name).is_file()]
    if folders and len(lists) == 1:
        raise EvaluationError(f"{data} has {lists[0]} alone. Give both {' and '.join(_LISTS)}, or none of them.")
    if folders and lists:
        return *_split_by_lists(data, sequences), "TrainSplit.txt and TestSplit.txt"
    if empty := [name for name, frames in sequences.items() if not frames]:
        raise EvaluationError(
            f"{len(empty)} of the {len(sequences)} sequences in {data} hold no frames (first: {empty[0]}). Unpack them,"
            " or remove their folders."
        )
    train, test = [], []
    for frames in sequences.values():
        trained, tested = split_blocks(frames, config)
        train += trained
        test += tested
    if not train or not test:
        raise EvaluationError(
            f"{data}: {sum(map(len, sequences.values()))} frames split into {config.num_blocks} blocks with a gap of"
            f" {config.gap} leave {len(train)} for training and {len(test)} for testing. Set"
            " sevenscenes.num_blocks, sevenscenes.test_every and sevenscenes.gap to smaller numbers."
        )
    about = (
        f"{config.num_blocks} blocks of frames, every {config.test_every}. for testing,"
        f" {config.gap} frames beside each left out of training"
    )
    return train, test, about


def split_blocks(
    frames: Sequence[SampleFiles], config: SevenScenesConfig
) -> tuple[list[SampleFiles], list[SampleFiles]]:
    """Cut frames into blocks; whole blocks are for testing, and training frames keep a gap from them.

    Frame i of n lies in block floor(i * num_blocks / n), counted from 0. Block b is for testing where
    (b + 1) % test_every == 0. Other frames are dropped where a test frame is `gap` frames away or nearer.
    """
    count = len(frames)
    tested = [(number * config.num_blocks // count + 1) % config.test_every == 0 for number in range(count)]
    near = [any(tested[max(0, number - config.gap) : number + config.gap + 1]) for number in range(count)]
    train = [frame for frame, is_near in zip(frames, near, strict=True) if not is_near]
    test = [frame for frame, is_test in zip(frames, tested, strict=True) if is_test]
    return train, test


def _frames(folder: Path, data: Path) -> list[SampleFiles]:
    """The frames of a folder in order of time; images and depths must pair."""
    depths = {path.name.removesuffix(_DEPTH): path for path in folder.glob(f"frame-*{_DEPTH}")}
    images = {
        path.name.removesuffix(ending): path
        for ending in reversed(_COLOURS)  # of two, the JPEG wins
        for path in folder.glob(f"frame-*{ending}")
    }
    names_missing = (
        (depths, images, "image", " and ".join(f"{{stem}}{ending}" for ending in _COLOURS) + " are"),
        (images, depths, "depth", f"{{stem}}{_DEPTH} is"),
    )
    for some, others, what, names in names_missing:
        if alone := sorted(set(some) - set(others)):
            raise EvaluationError(
                f"{some[alone[0]]} has no {what}: {names.format(stem=alone[0])} missing. The same holds for"
                f" {len(alone)} of {len(some)} frames in {folder}: unpack them again, or remove them."
            )
    return [
        SampleFiles((folder / stem).relative_to(data).as_posix(), images[stem], depths[stem]) for stem in sorted(depths)
    ]


def _split_by_lists(data: Path, sequences: dict[str, list[SampleFiles]]) -> tuple[list[SampleFiles], list[SampleFiles]]:
    """The frames of the sequences that each list names; a sequence must be in one list only."""
    train, test = (_listed(data / name, sequences) for name in _LISTS)
    if both := [name for name in train if name in test]:
        raise EvaluationError(
            f"{', '.join(both)} is in {data / _LISTS[0]} and in {data / _LISTS[1]}: test frames must not be"
            " trained on. Remove it from one of them."
        )
    train_frames, test_frames = ([frame for name in names for frame in sequences[name]] for names in (train, test))
    return train_frames, test_frames


def _listed(path: Path, sequences: dict[str, list[SampleFiles]]) -> list[str]:
    """The sequences that a list names, as `sequence1` or `seq-01`."""
    names: list[str] = []
    for line in path.read_text(encoding="utf-8", errors="replace").split():
        number = re.search(r"\d+$", line)
        name = f"seq-{int(number[0]):02}" if number else line
        if not sequences.get(name):
            raise EvaluationError(f"{path} names {line}, and there are no frames in {path.parent / name}: unpack it.")
        if name in names:
            raise EvaluationError(f"{path} names {name} twice: its frames would count twice. Remove one.")
        names.append(name)
    if not names:
        raise EvaluationError(f"{path} is empty. Expected the sequences of the split, one a line.")
    return names
