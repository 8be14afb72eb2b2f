"""Pictures in class folders: which are asked for, and which are searched."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dvt.errors import ConfigError, EvaluationError
from dvt.evaluation.retrieval.config import RetrievalConfig
from dvt.images.formats import has_image_extension
from dvt.images.sources import find_images

_LAYOUT = "<data>/{train}/<class>/ and <data>/{val}/<class>/, or <data>/<class>/, with pictures in every class folder"


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


def find_class_folders(config: RetrievalConfig, data: Path) -> ClassFolders:
    """List the pictures. They are not opened.

    Raises:
        EvaluationError: a folder is missing, a class is asked for that the database lacks, or there are fewer
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
    if alone := sorted(set(val) - set(train)):
        raise EvaluationError(
            f"{len(alone)} classes are in {data / config.val} but not in {data / config.train}: {', '.join(alone)}."
            " Nothing could be found for them: add pictures of them to the database, or take them away."
        )
    names = tuple(train)
    return ClassFolders(
        names, _chosen(train, names, config.num_train, "num_train"), _chosen(val, names, config.num_test, "num_test")
    )


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
