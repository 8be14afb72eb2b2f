"""The specification of a leaderboard: which ViTs, methods and tasks, from YAML, checked before any work.

Paths may begin with `${data}`, the folder that the option `data=` names, so that a specification says nothing about a
machine. Other relative paths are read from the working folder, as everywhere in `dvt`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import yaml

from dvt.backbone.config import BackboneConfig, blocks_of
from dvt.backbone.names import TIMM
from dvt.backbone.vit import facts_of
from dvt.backbone.weights import RANDOM
from dvt.decomposition.quality import qualities
from dvt.diagnosis.config import DoctorConfig
from dvt.errors import BackboneError, ConfigError
from dvt.evaluation.tasks import TASKS
from dvt.leaderboard.typed import options_of, require_names
from dvt.methods.names import parse_names
from dvt.paths import expand_home

DATA: Final = "${data}"
"""Stands in a path for the folder of the option `data=`."""

_LABEL = re.compile(r"\w[\w.+-]*")
_VIT_OPTIONS = [entry.name for entry in fields(BackboneConfig) if entry.name not in ("image_size", "trust_remote_code")]
_OF_A_VIT = ["label", *_VIT_OPTIONS, "denoiser", "distilled", "methods"]
_OF_A_TASK = ["label", "task", "data", "options"]
_TOP = ["title", "backbones", "methods", "tasks", "quality", "seed", "doctor"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VitEntry:
    """A ViT of a leaderboard."""

    label: str
    """Its name in tables."""
    config: BackboneConfig
    """Which ViT, with which weights, and where its features are taken."""
    denoiser: tuple[str, ...]
    """Weights of the methods `denoised`."""
    distilled: tuple[str, ...]
    """Weights of the methods `distilled`."""
    methods: tuple[str, ...]
    """All methods of this ViT: those of the leaderboard, then its own."""
    given: dict[str, Any]
    """What the specification says about the ViT, paths as written; without the methods."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskEntry:
    """A task of a leaderboard."""

    label: str
    """Its name in tables."""
    name: str
    """Which task; one of `TASKS`."""
    folder: Path
    """Folder of its data on this machine."""
    data: str
    """The same, as written."""
    config: Any
    """Options of the task."""
    given: dict[str, Any]
    """What the specification says about it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorEntry:
    """What the doctor measures of every ViT."""

    images: str
    """Images on this machine."""
    config: DoctorConfig
    """Options of the diagnosis."""
    given: dict[str, Any]
    """What the specification says about it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """A leaderboard that is to be run."""

    title: str
    """Heading of the page."""
    vits: tuple[VitEntry, ...]
    """At least one."""
    tasks: tuple[TaskEntry, ...]
    """At least one."""
    quality: str
    """Options of stage 1, for `decomposed`."""
    seed: int
    """Seed of the views, for `decomposed`."""
    doctor: DoctorEntry | None
    """None: no maps."""


def read_board(path: str | Path, data: str | Path | None = None) -> Board:
    """Read and check a specification. No weights are loaded, no data are opened.

    Args:
        path: the YAML file.
        data: the folder that `${data}` stands for.

    Raises:
        ConfigError: it cannot be read, or a ViT, method, task or option in it does not exist; the place is named.
    """
    path = expand_home(path)
    try:
        body = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"spec={path} cannot be read: {error.strerror}. Give a YAML file.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"spec={path} is not YAML: {error}") from error
    return parse_board(body, str(path), data)


def parse_board(body: Any, source: str, data: str | Path | None = None) -> Board:
    """The leaderboard that plain YAML describes.

    Args:
        body: what YAML holds.
        source: where it comes from, for errors.
        data: the folder that `${data}` stands for.

    Raises:
        ConfigError: as `read_board`.

    Examples:
        >>> task = {"task": "knn_segmentation", "data": "camvid", "options": {"num_train": 40}}
        >>> body = {"backbones": [{"name": "vit_micro"}], "methods": ["raw", "tiles"], "tasks": [task]}
        >>> board = parse_board(body, "spec")
        >>> board.vits[0].label, board.vits[0].methods, board.tasks[0].config.num_train
        ('vit_micro', ('raw', 'tiles'), 40)
    """
    folder = None if data is None else expand_home(data)
    try:
        body = require_names(body, _TOP, "the specification")
        shared = _texts(body.get("methods", []), "methods")
        vits = [_vit(each, f"backbones[{number}]", shared, folder) for number, each in _listed(body, "backbones")]
        tasks = [_task(each, f"tasks[{number}]", folder) for number, each in _listed(body, "tasks")]
        _require_once([each.label for each in vits], "backbones")
        _require_once([each.label for each in tasks], "tasks")
        quality, seed, title = body.get("quality", "fast"), body.get("seed", 0), body.get("title", "dvt leaderboard")
        if quality not in qualities():
            raise ConfigError(f"quality is {quality!r}: give one of {', '.join(qualities())}.")
        if type(seed) is not int or type(title) is not str:
            raise ConfigError(f"seed is {seed!r}, title is {title!r}: give a whole number and a text.")
        doctor = None if body.get("doctor") is None else _doctor(body["doctor"], folder)
    except (ConfigError, BackboneError) as error:
        raise ConfigError(f"{source}: {error}") from error
    return Board(title=title, vits=tuple(vits), tasks=tuple(tasks), quality=quality, seed=seed, doctor=doctor)


def _listed(body: dict[str, Any], name: str) -> "enumerate[Any]":
    if not isinstance(body.get(name), list) or not body[name]:
        raise ConfigError(f"{name} is {body.get(name)!r}: give a list with at least one entry.")
    return enumerate(body[name])


def _vit(given: Any, where: str, shared: Sequence[str], folder: Path | None) -> VitEntry:
    given = require_names(given, _OF_A_VIT, where)
    if given.get("name") is None and given.get("timm") is None:
        raise ConfigError(f"{where} has no name: give name (of the catalogue, or in source) or timm.")
    options = {name: value for name, value in given.items() if name in _VIT_OPTIONS}
    if options.get("weights") not in (None, RANDOM):
        options["weights"] = _path(options["weights"], f"{where}.weights", folder)
        if not expand_home(options["weights"]).is_file():
            raise ConfigError(f"{where}.weights: there is no file {options['weights']}.")
    config = options_of(BackboneConfig, options, where)
    blocks_of(config.layer)
    if config.source == TIMM:
        try:
            facts_of(config.full_name)  # of other sources the facts may have to be downloaded
        except BackboneError as error:
            raise BackboneError(f"{where}: {error}") from error
    methods = [*shared, *_texts(given.pop("methods", []), f"{where}.methods")]
    try:
        methods = [name.full for name in parse_names(methods)]  # tiles@2x is tiles
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
    _require_once(methods, f"{where}.methods", "leave one out.")
    label = _label(given.get("label", config.timm or config.name), where)
    weights = {name: _weights(given.get(name), f"{where}.{name}", folder) for name in ("denoiser", "distilled")}
    return VitEntry(label=label, config=config, methods=tuple(methods), given={**given, "label": label}, **weights)


def _task(given: Any, where: str, folder: Path | None) -> TaskEntry:
    given = require_names(given, _OF_A_TASK, where)
    name = given.get("task")
    if name not in TASKS:
        raise ConfigError(f"{where}.task is {name!r}: give one of {', '.join(TASKS)}.")
    kind, module = TASKS[name]
    config = options_of(getattr(import_module(module), f"{kind}Config"), given.get("options") or {}, f"{where}.options")
    data = _path(given.get("data"), f"{where}.data", folder)
    label = _label(given.get("label", name), where)
    given = {**given, "label": label}
    return TaskEntry(label=label, name=name, folder=expand_home(data), data=given["data"], config=config, given=given)


def _doctor(given: Any, folder: Path | None) -> DoctorEntry:
    names = [entry.name for entry in fields(DoctorConfig)]
    given = require_names(given, ["images", *names], "doctor")
    images = _path(given.get("images"), "doctor.images", folder)
    config = options_of(DoctorConfig, {name: value for name, value in given.items() if name != "images"}, "doctor")
    return DoctorEntry(images=images, config=config, given=given)


def _weights(given: Any, where: str, folder: Path | None) -> tuple[str, ...]:
    listed = given if isinstance(given, list) else [] if given is None else [given]
    return tuple(_path(each, where, folder) for each in listed)


def _path(given: Any, where: str, folder: Path | None) -> str:
    """A path or a name, with `${data}` filled in."""
    if type(given) is not str or not given:
        raise ConfigError(f"{where} is {given!r}: give a path.")
    if DATA in given and folder is None:
        raise ConfigError(f"{where} is {given}: give data=FOLDER, which {DATA} stands for.")
    filled = given.replace(DATA, str(folder))
    if "${" in filled:
        raise ConfigError(f"{where} is {given}: of these only {DATA} is known.")
    return filled


def _texts(given: Any, where: str) -> list[str]:
    if not isinstance(given, list) or not all(type(each) is str for each in given):
        raise ConfigError(f"{where} is {given!r}: give a list of names, [raw, tiles].")
    return given


def _label(label: Any, where: str) -> str:
    """A label, which is the name of a folder too."""
    if type(label) is not str or not _LABEL.fullmatch(label):
        raise ConfigError(f"{where}.label is {label!r}: give a name of letters, digits and _ . + -.")
    return label


def _require_once(names: list[str], where: str, way_out: str = "give each a label of its own.") -> None:
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"{where}: {name} is there twice; {way_out}")
