"""Scenes: images with boxes or a mask, in three layouts (VOC, DAVIS, two folders). Images are listed, not read."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dvt.errors import ConfigError, EvaluationError
from dvt.evaluation.boxes import Box
from dvt.evaluation.config.objects import DataFormat, ObjectDiscoveryConfig, ObjectsConfig
from dvt.evaluation.datasets.masks import ObjectMask, read_mask
from dvt.evaluation.datasets.samples import by_stem, evenly_spaced, pair
from dvt.evaluation.datasets.voc_boxes import VocObject, read_voc_list, read_voc_objects


@dataclass(frozen=True, slots=True)
class Scene:
    """An image, and where its objects are annotated."""

    key: str
    """Name of the image in its data set."""
    group: str
    """Name of its video; empty where there are no videos."""
    image: Path
    """The image file."""
    mask: Path | None = None
    """The mask; None where there are boxes."""
    objects: tuple[VocObject, ...] | None = None
    """The objects with their boxes; None where there is a mask."""

    @property
    def boxes(self) -> tuple[Box, ...] | None:
        """The boxes; None where there is a mask."""
        return None if self.objects is None else tuple(each.box for each in self.objects)


def find_scenes(config: ObjectsConfig, data: Path) -> tuple[DataFormat, list[Scene]]:
    """The scenes of a data set, and its layout.

    Raises:
        EvaluationError: something is missing, images and masks do not pair, or there are fewer than `num_test`.
        ConfigError: an unknown sequence, or saliency on a data set with boxes.
    """
    layout = config.format or _detect(config, data)
    match layout:
        case DataFormat.voc:
            if not isinstance(config, ObjectDiscoveryConfig):
                raise ConfigError("saliency needs masks, and format=voc has boxes. Give format=davis or folders.")
            scenes = _voc(config, *_folders(config, data, layout))
        case DataFormat.davis:
            scenes = _davis(config, *_folders(config, data, layout))
        case DataFormat.folders:
            scenes = _pairs(*_folders(config, data, layout))
    return layout, evenly_spaced(scenes, config.num_test, "num_test")


def _layouts(config: ObjectsConfig) -> dict[DataFormat, tuple[str, ...]]:
    """The folders of each layout; the first one identifies it."""
    davis = tuple(f"{name}/{config.resolution}" for name in ("Annotations", "JPEGImages"))
    voc = ("ImageSets/Main", "Annotations", "JPEGImages")
    return {DataFormat.davis: davis, DataFormat.voc: voc, DataFormat.folders: (config.masks, config.images)}


def _detect(config: ObjectsConfig, data: Path) -> DataFormat:
    layouts = _layouts(config)
    for layout, folders in layouts.items():
        if (data / folders[0]).is_dir():
            return layout
    known = "; ".join(f"{layout}: {', '.join(sorted(folders))}" for layout, folders in layouts.items())
    what = "has none of the known layouts" if data.is_dir() else "is not a folder"
    raise EvaluationError(f"data={data} {what}. Looked for {known}. Give the folder that holds these.")


def _folders(config: ObjectsConfig, data: Path, layout: DataFormat) -> list[Path]:
    names = _layouts(config)[layout]
    if missing := [name for name in names if not (data / name).is_dir()]:
        raise EvaluationError(
            f"data={data} has no folder {' and no '.join(missing)}. Looked for format={layout}:"
            f" {', '.join(sorted(names))}."
        )
    return [data / name for name in names]


def _voc(config: ObjectDiscoveryConfig, lists: Path, annotations: Path, images_folder: Path) -> list[Scene]:
    path = lists / f"{config.split}.txt"
    if not path.is_file():
        there = ", ".join(sorted(each.stem for each in lists.glob("*.txt"))) or "none"
        raise EvaluationError(f"split={config.split}: {path} does not exist. Lists in that folder: {there}.")
    names, images = read_voc_list(path), by_stem(images_folder)
    if missing := [name for name in names if name not in images]:
        raise EvaluationError(
            f"{path}: {len(missing)} of {len(names)} names have no image in {images_folder}: {few(missing)}."
            " Is the data set unpacked completely?"
        )
    scenes = []
    for name in names:
        found = read_voc_objects(annotations / f"{name}.xml")
        objects = tuple(each for each in found if config.difficult or not each.difficult)
        scenes.append(Scene(name, "", images[name], objects=objects))
    return scenes


def _davis(config: ObjectsConfig, masks_folder: Path, images_folder: Path) -> list[Scene]:
    annotated = _subfolders(masks_folder)
    if not annotated:
        raise EvaluationError(f"{masks_folder} is empty. Expected a folder of masks for every sequence.")
    if unknown := [name for name in config.sequences if name not in annotated]:
        raise ConfigError(f"{masks_folder} has no sequence {', '.join(unknown)}. There are: {', '.join(annotated)}.")
    every = _subfolders(images_folder)
    if not config.sequences and (without := [name for name in every if name not in annotated]):
        raise EvaluationError(
            f"{len(without)} of the {len(every)} sequences in {images_folder} have no folder in {masks_folder}:"
            f" {few(without)}. Unpack their masks, or name the sequences to use: sequences=[{','.join(annotated)}]."
        )
    return [
        Scene(f"{sequence}/{frame.key}", sequence, frame.image, frame.mask)
        for sequence in config.sequences or annotated
        for frame in _pairs(masks_folder / sequence, images_folder / sequence)[:: config.every]
    ]


def _subfolders(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir() if each.is_dir() and not each.name.startswith("."))


def _pairs(masks_folder: Path, images_folder: Path) -> list[Scene]:
    """Images and masks of the same name, sorted by it."""
    if not images_folder.is_dir():
        raise EvaluationError(f"{images_folder} is missing, but {masks_folder} exists. Every mask needs its image.")
    where = f"{images_folder} and {masks_folder}"
    pairs = pair(by_stem(images_folder), by_stem(masks_folder), where, "mask")
    return [Scene(each.key, "", each.image, each.target) for each in pairs]


def read_scene_mask(scene: Scene, hw: tuple[int, int]) -> ObjectMask:
    """The mask of a scene whose image has that height and width.

    Raises:
        EvaluationError: it cannot be read, or has another size.
    """
    assert scene.mask is not None
    mask = read_mask(scene.mask, soft=True)
    mask.check_hw(hw, "its image has", scene.image)
    return mask


def few(names: Sequence[str], most: int = 3) -> str:
    """The first `most` names, for an error or a note."""
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
