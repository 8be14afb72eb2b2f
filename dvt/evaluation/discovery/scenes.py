"""Scenes: pictures with boxes or a mask, in the three layouts that are known. Lists are read, pictures are not."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from dvt.errors import ConfigError, EvaluationError
from dvt.evaluation.datasets.samples import evenly_spaced
from dvt.evaluation.discovery.boxes import Box
from dvt.evaluation.discovery.config import DataFormat, ObjectDiscoveryConfig, ObjectsConfig
from dvt.evaluation.discovery.voc_boxes import read_voc_list, read_voc_objects
from dvt.images.formats import has_image_extension

_SHOWN: Final = 3
"""How many missing files or sequences an error names."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A picture, and where its objects are said to be."""

    key: str
    """Name of the picture in its data set."""
    group: str
    """Name of its video; empty where there are no videos."""
    picture: Path
    """The picture."""
    mask: Path | None = None
    """The mask; None where there are boxes."""
    boxes: tuple[Box, ...] | None = None
    """The boxes; None where there is a mask."""


def find_scenes(config: ObjectsConfig, data: Path) -> tuple[DataFormat, list[Scene]]:
    """The scenes of a data set, and how it is laid out.

    Raises:
        EvaluationError: something is missing, pictures and masks do not pair, or there are fewer than `num_test`.
        ConfigError: a sequence does not exist, or boxes are wanted for saliency.
    """
    layout = config.format or _detect(config, data)
    match layout:
        case DataFormat.voc:
            if not isinstance(config, ObjectDiscoveryConfig):
                raise ConfigError("saliency needs masks, and format=voc has boxes. Give format=davis or folders.")
            scenes = _voc(config, data)
        case DataFormat.davis:
            scenes = _davis(config, data)
        case DataFormat.folders:
            scenes = _folders(config, data)
    return layout, evenly_spaced(scenes, config.num_test, "num_test")


def data_protocol(config: ObjectsConfig, layout: DataFormat, scenes: Sequence[Scene]) -> dict[str, Any]:
    """Which pictures, as plain JSON."""
    about: dict[str, Any] = {"format": layout.value, "pictures": len(scenes)}
    if layout is DataFormat.davis:
        about |= {"sequences": list(dict.fromkeys(scene.group for scene in scenes)), "every nth frame": config.every}
    return about


def _layouts(config: ObjectsConfig) -> dict[DataFormat, tuple[str, ...]]:
    """The folders that each layout has; the first of them tells it from the others."""
    davis = tuple(f"{name}/{config.resolution}" for name in ("Annotations", "JPEGImages"))
    voc = ("ImageSets/Main", "Annotations", "JPEGImages")
    return {DataFormat.davis: davis, DataFormat.voc: voc, DataFormat.folders: (config.masks, config.images)}


def _detect(config: ObjectsConfig, data: Path) -> DataFormat:
    layouts = _layouts(config)
    for layout, folders in layouts.items():
        if (data / folders[0]).is_dir():
            return layout
    known = "; ".join(f"{layout}: {', '.join(sorted(folders))}" for layout, folders in layouts.items())
    what = "has none of the layouts that are known" if data.is_dir() else "is not a folder"
    raise EvaluationError(f"data={data} {what}. Looked for {known}. Give the folder that holds these.")


def _check_folders(config: ObjectsConfig, data: Path, layout: DataFormat) -> None:
    folders = _layouts(config)[layout]
    if missing := [name for name in folders if not (data / name).is_dir()]:
        raise EvaluationError(
            f"data={data} has no folder {' and no '.join(missing)}. Looked for format={layout}:"
            f" {', '.join(sorted(folders))}."
        )


def _voc(config: ObjectDiscoveryConfig, data: Path) -> list[Scene]:
    _check_folders(config, data, DataFormat.voc)
    lists = data / "ImageSets" / "Main"
    path = lists / f"{config.split}.txt"
    if not path.is_file():
        there = ", ".join(sorted(each.stem for each in lists.glob("*.txt"))) or "none"
        raise EvaluationError(f"split={config.split}: {path} does not exist. Lists that are there: {there}.")
    names, pictures = read_voc_list(path), _by_stem(data / "JPEGImages")
    _check_all_there(names, pictures, f"{path}: a picture in JPEGImages")
    scenes = []
    for name in names:
        objects = read_voc_objects(data / "Annotations" / f"{name}.xml")
        boxes = tuple(each.box for each in objects if config.difficult or not each.difficult)
        scenes.append(Scene(name, "", pictures[name], boxes=boxes))
    return scenes


def _davis(config: ObjectsConfig, data: Path) -> list[Scene]:
    _check_folders(config, data, DataFormat.davis)
    masks_folder, pictures_folder = (data / name for name in _layouts(config)[DataFormat.davis])
    there = sorted(each.name for each in masks_folder.iterdir() if each.is_dir() and not each.name.startswith("."))
    if not there:
        raise EvaluationError(f"{masks_folder} is empty. Expected a folder of masks for every sequence.")
    if wrong := [name for name in config.sequences if name not in there]:
        raise ConfigError(f"{masks_folder} has no sequence {', '.join(wrong)}. There are: {', '.join(there)}.")
    if not config.sequences:
        _check_all_have_masks(pictures_folder, masks_folder, there)
    scenes = []
    for sequence in config.sequences or there:
        frames = _pairs(pictures_folder / sequence, masks_folder / sequence)[:: config.every]
        scenes += [Scene(f"{sequence}/{frame.key}", sequence, frame.picture, frame.mask) for frame in frames]
    return scenes


def _check_all_have_masks(pictures_folder: Path, masks_folder: Path, there: list[str]) -> None:
    folders = (each for each in pictures_folder.iterdir() if each.is_dir() and not each.name.startswith("."))
    all_names = sorted(each.name for each in folders)
    if without := [name for name in all_names if name not in there]:
        raise EvaluationError(
            f"{len(without)} of the {len(all_names)} sequences in {pictures_folder} have no folder in {masks_folder}:"
            f" {_few(without)}. Unpack their masks, or name the sequences that count: sequences=[{','.join(there)}]."
        )


def _folders(config: ObjectsConfig, data: Path) -> list[Scene]:
    _check_folders(config, data, DataFormat.folders)
    return _pairs(data / config.images, data / config.masks)


def _pairs(pictures_folder: Path, masks_folder: Path) -> list[Scene]:
    """Pictures and masks of one name, sorted by it."""
    if not pictures_folder.is_dir():
        raise EvaluationError(f"{pictures_folder} is not there, but {masks_folder} is. Every mask needs its picture.")
    pictures, masks = _by_stem(pictures_folder), _by_stem(masks_folder)
    _check_all_there(list(masks), pictures, f"{masks_folder}: a picture in {pictures_folder}")
    _check_all_there(list(pictures), masks, f"{pictures_folder}: a mask in {masks_folder}")
    if not pictures:
        raise EvaluationError(f"{pictures_folder} and {masks_folder} hold no images. Is the data set unpacked?")
    return [Scene(name, "", pictures[name], masks[name]) for name in sorted(pictures)]


def _by_stem(folder: Path) -> dict[str, Path]:
    """The images of a folder by their names without ending."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or not has_image_extension(path):
            continue
        if path.stem in found:
            raise EvaluationError(f"{folder} holds {found[path.stem].name} and {path.name}: leave one of them.")
        found[path.stem] = path
    return found


def _check_all_there(names: Sequence[str], files: dict[str, Path], what: str) -> None:
    missing = [name for name in names if name not in files]
    if missing:
        raise EvaluationError(
            f"{what} of the same name is missing for {len(missing)} of {len(names)}: {_few(missing)}."
            " Is the data set unpacked completely?"
        )


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
