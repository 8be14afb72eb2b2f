"""The doctor's maps of every ViT of a leaderboard: an image, and what was found in words."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from dvt.backbone.backbone import Backbone
from dvt.diagnosis.diagnose import diagnose_layers
from dvt.diagnosis.figure import draw_diagnosis
from dvt.diagnosis.layers import BackboneLayers
from dvt.diagnosis.windows import choose_images
from dvt.files import disk_errors, parse_json, plain, to_json, write_atomic
from dvt.images.sources import find_images
from dvt.leaderboard.spec import DoctorEntry, VitEntry
from dvt.progress import Reporter
from dvt.viz.save import save_png

MAPS: Final = "maps"
"""Folder of the maps, in that of the leaderboard."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Maps:
    """What the doctor says about a ViT."""

    words: tuple[str, ...]
    """Findings and remarks."""
    image: Path
    """Scores over depth, and maps of every layer, as PNG."""


def has_maps(out: Path, vit: VitEntry, doctor: DoctorEntry, backbone: Backbone) -> bool:
    """Whether the maps of this ViT are there, measured in the same way."""
    found = _read(out, vit.label)
    return found is not None and found["about"] == _about(doctor, backbone) and _image(out, vit.label).is_file()


def write_maps(out: Path, vit: VitEntry, doctor: DoctorEntry, backbone: Backbone, reporter: Reporter) -> None:
    """Diagnose a ViT and write its maps.

    Raises:
        ImageError: too few images that can be read.
        ConfigError: layers that the ViT does not have.
        EvaluationError: features that are not finite.
        DiskError: the disk is full or refuses.
    """
    config = doctor.config
    chosen = choose_images(find_images(doctor.images), config.num_images, config.seed)
    layers = BackboneLayers(backbone, config.layers)
    diagnosis = diagnose_layers(layers, chosen, config, reporter=reporter)
    with disk_errors(out / MAPS):
        (out / MAPS).mkdir(parents=True, exist_ok=True)
    save_png(draw_diagnosis(diagnosis), _image(out, vit.label))
    body = {"about": _about(doctor, backbone), "words": diagnosis.words().splitlines()}
    write_atomic(out / MAPS / f"{vit.label}.json", to_json(body).encode())


def read_maps(out: Path, label: str) -> Maps | None:
    """The maps of a ViT; None where there are none."""
    found = _read(out, label)
    if found is None or not _image(out, label).is_file():
        return None
    return Maps(words=tuple(map(str, found["words"])), image=_image(out, label))


def _image(out: Path, label: str) -> Path:
    return out / MAPS / f"{label}.png"


def _about(doctor: DoctorEntry, backbone: Backbone) -> dict[str, Any]:
    about: dict[str, Any] = plain({"doctor": doctor.given, "features": backbone.spec.to_json()})
    return about


def _read(out: Path, label: str) -> dict[str, Any] | None:
    try:
        found = parse_json((out / MAPS / f"{label}.json").read_bytes())
    except (OSError, ValueError):  # none, or damaged: made again
        return None
    return found if isinstance(found, dict) and {"about", "words"} <= set(found) else None
