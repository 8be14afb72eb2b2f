"""Names, configuration and options of load_backbone."""

import inspect
import subprocess
import sys
from dataclasses import fields

import pytest
import timm

from dvt.backbone.catalogue import CATALOGUE, list_backbones, lookup
from dvt.backbone.config import BackboneConfig
from dvt.backbone.load import load_backbone, load_from_config
from dvt.backbone.micro import MICRO
from dvt.errors import BackboneError, ConfigError, DvtError
from dvt.grid import PatchGrid

TINY = {"weights": "random", "device": "cpu"}


def test_the_names_are_listed():
    assert list_backbones() == list(CATALOGUE)


def test_every_row_has_weights_in_timm_and_a_size_that_fits():
    with_weights = set(timm.list_models(pretrained=True))
    for name, row in CATALOGUE.items():
        assert row.name == name
        if row.timm == MICRO:  # its weights come with the project
            continue
        assert row.timm in with_weights
        config = timm.get_pretrained_cfg(row.timm)
        assert config.hf_hub_id.startswith("timm/")
        patch = next(int(part) for part in ("14", "16", "8") if f"patch{part}" in row.timm)
        assert PatchGrid.of((row.image_size, row.image_size), patch).hw in ((37, 37), (32, 32), (28, 28), (14, 14))


def test_families_of_the_paper_are_there():
    for family in ("dino", "deit3", "eva02", "clip", "dinov2", "dinov2_reg", "mae", "augreg", "dinov3", "siglip2"):
        assert f"{family}_base" in CATALOGUE
        assert f"{family}_large" in CATALOGUE or family == "dino"


def test_a_timm_name_has_no_size_of_ours():
    row = lookup("vit_tiny_patch16_224")
    assert (row.name, row.timm, row.image_size) == ("vit_tiny_patch16_224", "vit_tiny_patch16_224", None)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("dinov2_bsae", "dinov2_base"),
        ("dino-small", "dino_small"),
        ("vit_base_patch14_dinov2.lvd142", "vit_base_patch14_dinov2.lvd142m"),
        ("vit_tiny_patch16_224.augreg", "vit_tiny_patch16_224"),
        ("qqqqqqqq", "dinov2_base"),
    ],
)
def test_an_unknown_name_gets_the_nearest(name, near):
    with pytest.raises(BackboneError, match=f"there is no backbone '{name}'") as caught:
        lookup(name)
    assert near in str(caught.value)


def test_signature_is_the_promised_one():
    parameters = inspect.signature(load_backbone).parameters
    assert list(parameters)[1:7] == ["weights", "image_size", "stride", "layer", "norm", "device"]
    assert [parameters[name].default for name in list(parameters)[1:7]] == [None, None, None, -1, True, "auto"]


def test_options_arrive():
    backbone = load_backbone(
        "augreg_tiny", image_size=(32, 48), stride=8, layer=3, norm=False, precision="bf16", **TINY
    )
    assert (backbone.name, backbone.full_name) == ("augreg_tiny", "vit_tiny_patch16_224.augreg_in21k_ft_in1k")
    assert backbone.grid == PatchGrid.of((32, 48), 16, 8)
    assert (backbone.layer, backbone.norm, backbone.precision.value, backbone.num_channels) == (3, False, "bf16", 192)
    assert str(backbone.device) == "cpu"


def test_default_sizes():
    assert load_backbone("augreg_tiny", **TINY).grid.image_hw == (224, 224)
    assert load_backbone("vit_tiny_patch16_384", **TINY).grid.image_hw == (384, 384)
    assert load_backbone("dino_small", **TINY).grid.image_hw == (512, 512)


@pytest.mark.parametrize("image_size", ["224", [224], [1, 2, 3], 0, -16, True, 22.4, [224, "x"], {"h": 2, "w": 2}])
@pytest.mark.other_types
def test_an_image_size_that_is_none(image_size):
    with pytest.raises(ConfigError, match="give one number of pixels, or two"):
        load_backbone("augreg_tiny", image_size=image_size, **TINY)


def test_config_and_function_agree():
    signature = inspect.signature(load_backbone).parameters
    defaults = {field.name: field.default for field in fields(BackboneConfig)}
    assert defaults.pop("timm") is None
    assert defaults == {name: signature[name].default for name in defaults}
    assert set(signature) - set(defaults) == {"device", "made_from"}


def test_load_from_config():
    config = BackboneConfig(name="augreg_tiny", weights="random", image_size=[32, 48], stride=8, layer=-2, norm=False)
    backbone = load_from_config(config, "cpu")
    assert (backbone.name, backbone.layer, backbone.norm) == ("augreg_tiny", 10, False)
    assert backbone.grid == PatchGrid.of((32, 48), 16, 8)
    other = load_from_config(BackboneConfig(timm="deit_tiny_patch16_224", weights="random", image_size=32), "cpu")
    assert other.name == "deit_tiny_patch16_224"


def test_errors_are_for_people():
    for options in ({"device": "tpu"}, {"precision": "fp8"}, {"stride": 99}, {"image_size": 17}, {"layer": 99}):
        with pytest.raises(DvtError):
            load_backbone("augreg_tiny", **{**TINY, **options})


def test_names_and_options_are_listed_without_torch():
    code = (
        "import sys, dvt.backbone.config, dvt.backbone.catalogue as c; c.lookup('dinov2_base');"
        "sys.exit(bool({'torch', 'timm'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
