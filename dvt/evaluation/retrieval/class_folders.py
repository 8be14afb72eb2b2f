"""Pictures in class folders: which are asked for, and which are searched."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dvt.errors import ConfigError, EvaluationError
from dvt.evaluation.retrieval.config import RetrievalConfig
from dvt.images.formats import has_image_extension
from dvt.images.sources import find_images

_LAYOUT = "<data>/{train}/<class>/ and <data>/{val}/<class>/, or <data>/<class>/, with pictures in every class folder"
_SHOWN: Final = 5
"""How many classes a note names."""


@dataclass(frozen=True, slots=True)
class ClassPicture:
    """A picture and its class."""

    path: Path
    """Where it is."""
    label: int
    """Number of the class."""


@dataclass(frozen=True, slots=True)
class ClassFolders:
    """The two sides of a retrieval."""

    class_names: tuple[str, ...]
    """In the order of their numbers."""
    database: tuple[ClassPicture, ...]
    """What is searched."""
    queries: tuple[ClassPicture, ...] | None
    """What is asked for; None: every picture of the database, in all the others (leave-one-out)."""
    notes: tuple[str, ...] = ()
    """Classes that only one of the two sides has."""


def find_class_folders(config: RetrievalConfig, data: Path) -> ClassFolders:
    """List the pictures. They are not opened.

    Raises:
        EvaluationError: a folder is missing, the database lacks all classes that are asked for, or there are fewer
            pictures than wanted.
        ConfigError: options that do not go with the layout.
        ImageError: a class folder without images.
    """
    layout = _LAYOUT.format(train=config.train, val=config.val)
    if not data.is_dir():
        raise EvaluationError(f"data={data} is not a folder. Expected {layout}.")
    there = [name for name in (config.train, config.val) if (data / name).is_dir()]
    if not there:
        return _one_folder(config, data, layout)
    if len(there) == 1:
        (missing,) = {config.train, config.val} - {*there}
        raise EvaluationError(f"data={data} has {there[0]}/ but no {missing}/. Expected {layout}.")
    train, val = (_classes(data / name, layout) for name in (config.train, config.val))
    asked = {name: paths for name, paths in val.items() if name in train}
    if not asked:
        raise EvaluationError(
            f"none of the {len(val)} classes in {data / config.val} ({_few(list(val))}) is among the {len(train)} in"
            f" {data / config.train} ({_few(list(train))}). Folders of one class have to have one name in both."
        )
    names = tuple(train)
    return ClassFolders(
        names,
        _chosen(train, names, config.num_train, "num_train"),
        _chosen(asked, names, config.num_test, "num_test"),
        _notes(config, train, val),
    )


def _notes(config: RetrievalConfig, train: Iterable[str], val: Iterable[str]) -> tuple[str, ...]:
    """What is said of classes that are not on both sides."""
    sides = (
        (set(train) - set(val), config.train, config.val, "searched but not asked for"),
        (set(val) - set(train), config.val, config.train, "left out of all means, for there is nothing to be found"),
    )
    return tuple(
        f"{_classes_of(alone)} in {one}/ but not in {other}/, so that {'it is' if len(alone) == 1 else 'they are'}"
        f" {what}: {_few(sorted(alone))}"
        for alone, one, other, what in sides
        if alone
    )


def _classes_of(names: Collection[str]) -> str:
    return "1 class is" if len(names) == 1 else f"{len(names)} classes are"


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")


def _one_folder(config: RetrievalConfig, data: Path, layout: str) -> ClassFolders:
    if config.num_train is not None:
        raise ConfigError(
            f"num_train={config.num_train}: {data} has no {config.train}/ and {config.val}/, so that all pictures are"
            " both asked for and searched. Give num_test alone."
        )
    classes = _classes(data, layout)
    names = tuple(classes)
    return ClassFolders(names, _chosen(classes, names, config.num_test, "num_test"), queries=None)


def _classes(folder: Path, layout: str) -> dict[str, list[Path]]:
    """The pictures of every class, by its name."""
    visible = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    folders = [path for path in visible if path.is_dir()]
    loose = [path for path in visible if path not in folders and has_image_extension(path)]
    if loose:
        raise EvaluationError(
            f"{folder} holds {len(loose)} pictures outside of class folders, such as {loose[0].name}. Expected"
            f" {layout}."
        )
    if len(folders) < 2:
        raise EvaluationError(f"{folder} holds {len(folders)} class folders; at least 2 are needed. Expected {layout}.")
    return {path.name: [image.path for image in find_images(path)] for path in folders}


def _chosen(
    classes: dict[str, list[Path]], names: Sequence[str], count: int | None, option: str
) -> tuple[ClassPicture, ...]:
    """All pictures, or so many of them; class by class."""
    sizes = {name: len(paths) for name, paths in classes.items()}
    total = sum(sizes.values())
    if count is not None and not len(classes) <= count <= total:
        raise EvaluationError(
            f"{option}={count}, but there are {total} pictures in {len(classes)} classes: give {len(classes)} to"
            f" {total}, or leave it out to take all."
        )
    shares = shared_out(sizes, total if count is None else count)
    return tuple(
        ClassPicture(paths[number * len(paths) // shares[name]], names.index(name))
        for name, paths in classes.items()
        for number in range(shares[name])
    )


def shared_out(sizes: dict[str, int], count: int) -> dict[str, int]:
    """How many pictures each class gives, as evenly as their sizes allow.

    Args:
        sizes: pictures that there are, by class.
        count: pictures that are wanted, at most as many as there are.
    """
    shares: dict[str, int] = {}
    smallest_first = sorted(sizes, key=lambda name: sizes[name])
    for number, name in enumerate(smallest_first):
        shares[name] = min(sizes[name], (count - sum(shares.values())) // (len(sizes) - number))
    return shares
