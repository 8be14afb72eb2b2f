"""Images in class folders: the database and the queries of retrieval, and the images that train its head."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dvt.errors import ConfigError, EvaluationError
from dvt.evaluation.config.retrieval import HeadKind, RetrievalConfig, RetrievalHeadConfig
from dvt.evaluation.datasets.samples import evenly_spaced
from dvt.evaluation.datasets.scenes import few
from dvt.images.formats import has_image_extension
from dvt.images.sources import find_images

_LAYOUT = "<data>/{train}/<class>/ and <data>/{val}/<class>/, or <data>/<class>/, with images in every class folder"


@dataclass(frozen=True, slots=True)
class ClassImage:
    """An image and its class."""

    path: Path
    """The image file."""
    label: int
    """Number of the class."""


@dataclass(frozen=True, slots=True)
class ClassFolders:
    """The two sides of a retrieval."""

    class_names: tuple[str, ...]
    """In the order of their numbers."""
    database: tuple[ClassImage, ...]
    """The images that are searched."""
    queries: tuple[ClassImage, ...] | None
    """The images to search for; None: every image of the database, among all the others (leave-one-out)."""
    notes: tuple[str, ...] = ()
    """Names classes that only one of the two sides has."""
    training: tuple[ClassImage, ...] = ()
    """The images that train a head; no image of their classes is searched or asked for."""
    training_names: tuple[str, ...] = ()
    """Their classes, in the order of their numbers."""


def find_class_folders(config: RetrievalConfig, data: Path) -> ClassFolders:
    """List the images. They are not opened.

    Raises:
        EvaluationError: a folder is missing, the database has no class of the queries, or there are fewer images than
            wanted.
        ConfigError: options that do not fit the layout.
        ImageError: a class folder without images.
    """
    layout = _LAYOUT.format(train=config.train, val=config.val)
    if not data.is_dir():
        raise EvaluationError(f"data={data} is not a folder. Expected {layout}.")
    there = [name for name in (config.train, config.val) if (data / name).is_dir()]
    if len(there) == 1:
        (missing,) = {config.train, config.val} - {*there}
        raise EvaluationError(f"data={data} has {there[0]}/ but no {missing}/. Expected {layout}.")
    if not there:
        if config.num_train is not None:
            raise ConfigError(
                f"num_train={config.num_train}: {data} has no {config.train}/ and {config.val}/, so every image is both"
                " a query and part of the database. Give num_test alone."
            )
        classes = _classes(data, layout)
        training, training_names = _taken_out(classes, [*classes], config.head)
        names = tuple(classes)
        database = _chosen(classes, names, config.num_test, "num_test")
        return ClassFolders(names, database, None, training=training, training_names=training_names)
    train, val = (_classes(data / name, layout) for name in (config.train, config.val))
    shared = {name: paths for name, paths in val.items() if name in train}
    if not shared:
        raise EvaluationError(
            f"none of the {len(val)} classes in {data / config.val} ({few([*val], 5)}) is among the {len(train)} in"
            f" {data / config.train} ({few([*train], 5)}). The folders of a class must have the same name in both."
        )
    training, training_names = _taken_out(train, [*shared], config.head)
    for name in training_names:
        del val[name], shared[name]
    names = tuple(train)
    sides = (
        (sorted({*train} - {*val}), config.train, config.val, "searched but not asked for"),
        (sorted({*val} - {*train}), config.val, config.train, "left out of all means, there is nothing to find"),
    )
    notes = tuple(
        f"{'1 class is' if len(alone) == 1 else f'{len(alone)} classes are'} in {one}/ but not in {other}/"
        f" ({what}): {few(alone, 5)}"
        for alone, one, other, what in sides
        if alone
    )
    database = _chosen(train, names, config.num_train, "num_train")
    queries = _chosen(shared, names, config.num_test, "num_test")
    return ClassFolders(names, database, queries, notes, training, training_names)


def split_classes(names: Sequence[str], share: float) -> tuple[str, ...]:
    """The classes that train a head: `share` of all, evenly spaced from the first; the others are tested.

    Raises:
        EvaluationError: fewer than two would train it, or be left.

    Examples:
        >>> split_classes(["cat", "dog", "fox", "owl", "pig"], 0.5)
        ('cat', 'fox')
    """
    count = round(share * len(names))
    if not 2 <= count <= len(names) - 2:
        raise EvaluationError(
            f"head.classes={share} of {len(names)} classes: {count} would train the head, {len(names) - count} would be"
            " searched. Both need at least 2: give another share, or data with more classes."
        )
    return tuple(evenly_spaced(names, count, "head.classes"))


def _taken_out(
    classes: dict[str, list[Path]], names: Sequence[str], head: RetrievalHeadConfig
) -> tuple[tuple[ClassImage, ...], tuple[str, ...]]:
    """Take the classes that train the head out of `classes`: their images, and their names; nothing without a head."""
    if head.kind == HeadKind.none:
        return (), ()
    chosen = split_classes(names, head.classes)
    return _chosen({name: classes.pop(name) for name in chosen}, chosen, head.num_train, "head.num_train"), chosen


def _classes(folder: Path, layout: str) -> dict[str, list[Path]]:
    """The images of every class, by its name."""
    visible = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    folders = [path for path in visible if path.is_dir()]
    if loose := [path for path in visible if path not in folders and has_image_extension(path)]:
        raise EvaluationError(
            f"{folder} holds {len(loose)} images outside of class folders, such as {loose[0].name}. Expected {layout}."
        )
    if len(folders) < 2:
        raise EvaluationError(f"{folder} holds {len(folders)} class folders; at least 2 are needed. Expected {layout}.")
    return {path.name: [image.path for image in find_images(path)] for path in folders}


def _chosen(
    classes: dict[str, list[Path]], names: Sequence[str], count: int | None, option: str
) -> tuple[ClassImage, ...]:
    """All images, or `count` of them, evenly spaced in each class; class by class."""
    sizes = {name: len(paths) for name, paths in classes.items()}
    total = sum(sizes.values())
    if count is not None and not len(classes) <= count <= total:
        raise EvaluationError(
            f"{option}={count}, but there are {total} images in {len(classes)} classes: give {len(classes)} to"
            f" {total}, or leave it out to take all."
        )
    shares = shared_out(sizes, total if count is None else count)
    return tuple(
        ClassImage(path, names.index(name))
        for name, paths in classes.items()
        for path in evenly_spaced(paths, shares[name], option)
    )


def shared_out(sizes: dict[str, int], count: int) -> dict[str, int]:
    """How many images each class gives, as evenly as their sizes allow.

    Args:
        sizes: number of images by class.
        count: images wanted in all, at most as many as there are.

    Examples:
        >>> shared_out({"cat": 9, "dog": 1, "owl": 9}, 9)
        {'dog': 1, 'cat': 4, 'owl': 4}
    """
    shares: dict[str, int] = {}
    for number, name in enumerate(sorted(sizes, key=lambda name: sizes[name])):
        shares[name] = min(sizes[name], (count - sum(shares.values())) // (len(sizes) - number))
    return shares
