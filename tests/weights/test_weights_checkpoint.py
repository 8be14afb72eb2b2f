"""Which features a checkpoint is for: written as a spec, and read from checkpoints of every age."""

from dvt.backbone.vit import facts_of
from dvt.weights.checkpoint import settings_in, spec_in, spec_settings

SPEC = facts_of("augreg_tiny").spec


def content(settings):
    return {"state_dict": {}, "dvt": {"settings": settings}}


def test_there_and_back():
    settings = settings_in(content({"seed": 3, **spec_settings(SPEC)}))
    assert spec_in(settings) == SPEC and settings["seed"] == 3


def test_older_checkpoints_hold_no_patch_size_and_no_channels():
    """They continue: their settings equal those that are written today."""
    features = {
        "backbone": SPEC.backbone, "weights_hash": None, "layer": SPEC.layer, "norm": True,
        "image_hw": list(SPEC.grid.image_hw), "stride": SPEC.grid.stride,
    }  # fmt: skip
    assert settings_in(content({"features": features})) == spec_settings(SPEC)


def test_features_that_are_not_said_or_of_an_unknown_vit():
    unknown = {"features": {"backbone": "vit_of_another_timm", "image_hw": [32, 32], "stride": 16}}
    assert settings_in(content(unknown)) == unknown
    assert spec_in(unknown) is spec_in({}) is spec_in({"features": "all"}) is None


def test_other_files_are_no_checkpoints():
    for other in ({}, {"dvt": 3}, {"dvt": {}}, [], {"dvt": {"settings": None}}):
        assert settings_in(other) is None


def test_settings_with_the_former_name_of_an_option():
    assert settings_in(content({"pictures": {"val_share": 0.1}})) == {"dataset": {"val_share": 0.1}}
