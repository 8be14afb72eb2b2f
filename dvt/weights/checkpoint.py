"""Checkpoints of our training: their names, and which features they are for. No Lightning needed."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dvt.backbone.vit import facts_of
from dvt.errors import BackboneError
from dvt.spec import FeatureSpec

CHECKPOINTS = "checkpoints"
"""Folder of the checkpoints below the output folder."""
OURS = "dvt"
"""Key of a checkpoint that holds `{"settings": ...}`, the settings of the run."""

_NAME = re.compile(r"step-(\d+)\.ckpt")
_FEATURES = "features"


def checkpoint_path(folder: Path, step: int) -> Path:
    """Where the checkpoint of a step goes."""
    return folder / f"step-{step:08d}.ckpt"


def checkpoint_paths(folder: Path) -> list[Path]:
    """The checkpoints in a folder, newest first."""
    return sorted((path for path in folder.glob("step-*.ckpt") if _NAME.fullmatch(path.name)), reverse=True)


def step_of(path: Path) -> int:
    """Updates done at a checkpoint, by its name."""
    match = _NAME.fullmatch(path.name)
    assert match is not None, path
    return int(match[1])


def spec_settings(spec: FeatureSpec) -> dict[str, Any]:
    """Which features a run is for, as an entry of its settings."""
    return {_FEATURES: spec.to_json()}


def settings_in(content: Any) -> dict[str, Any] | None:
    """The settings of the run that wrote a checkpoint; None where the content of a file is no checkpoint of ours."""
    ours = content.get(OURS) if isinstance(content, Mapping) else None
    settings = ours.get("settings") if isinstance(ours, Mapping) else None
    return _upgraded(dict(settings)) if isinstance(settings, Mapping) else None


def spec_in(settings: Mapping[str, Any]) -> FeatureSpec | None:
    """Which features a run is for; None where its settings do not say."""
    try:
        return FeatureSpec.from_json(settings[_FEATURES])
    except (KeyError, TypeError, ValueError):
        return None


def _upgraded(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings as they are written today.

    Older ones call the options of the images `pictures`, hold no patch size and no channels, which follow from the
    ViT, and do not say how a denoiser mixes blocks, how fine it is and what its groups are: there was one way.
    """
    if isinstance(settings.get("denoiser"), Mapping):
        settings["denoiser"] = {"mixing": "residual", "fine": 1, "groups": 1, **settings["denoiser"]}
    if "pictures" in settings:
        settings["dataset"] = settings.pop("pictures")
    features = settings.get(_FEATURES)
    if isinstance(features, Mapping) and {"backbone", "image_hw", "stride"} <= set(features):
        try:
            vit = facts_of(features["backbone"])
        except BackboneError:  # of another version of timm
            return settings
        grid = {"image_hw": list(features["image_hw"]), "patch": vit.patch, "stride": features["stride"]}
        kept = {name: value for name, value in features.items() if name not in {"image_hw", "stride"}}
        settings[_FEATURES] = {**kept, "grid": grid, "channels": vit.num_channels}
    return settings
