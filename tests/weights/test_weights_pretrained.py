"""save_pretrained, from_pretrained, the card, and what a denoiser without a description cannot do."""

from dataclasses import replace

import pytest
import torch
import yaml
from originals import block_state

import dvt
from dvt.denoiser.config import DenoiserConfig, Kind
from dvt.errors import WeightsError
from dvt.grid import PatchGrid
from dvt.spec import FeatureSpec
from dvt.weights.card import model_card
from dvt.weights.folder import save_model, write_model_folder
from dvt.weights.info import ModelInfo

INFO = ModelInfo(
    kind="denoiser",
    spec=FeatureSpec(
        backbone="vit_tiny_patch16_224.augreg_in21k_ft_in1k",
        weights_hash="ab" * 32,
        layer=11,
        norm=True,
        grid=PatchGrid.of((64, 96), 16),
        channels=192,
    ),
    architecture={},
    training={"num_images": 400, "data": {"sha256": "cd" * 32}, "stage1": [{"quality": "fast"}], "sizes": [1, 2]},
    metrics={"mse": 0.12345678, "position | share": 0.5},
    base_license="apache-2.0",
    code_version="0.1.0",
)


@pytest.fixture
def denoiser():
    denoiser = dvt.Denoiser(DenoiserConfig(num_blocks=2, head_channels=32, mlp_ratio=2.0), 192, (4, 6))
    denoiser.info = INFO
    return denoiser


def test_there_and_back(denoiser, here):
    denoiser.save_pretrained("runs/mine")
    for again in (dvt.Denoiser.from_pretrained("runs/mine"), dvt.load_denoiser(here / "runs" / "mine")):
        assert again.config == denoiser.config and again.grid_hw == (4, 6) and not again.training
        assert again.info == replace(INFO, architecture=again.info.architecture)
        for key, tensor in denoiser.state_dict().items():
            assert torch.equal(again.state_dict()[key], tensor)
        patches = torch.randn(1, 4, 6, 192)
        with torch.no_grad():
            assert torch.equal(again(patches), denoiser(patches))
    assert sorted(path.name for path in (here / "runs/mine").iterdir()) == [
        "README.md",
        "config.json",
        "weights.safetensors",
    ]
    assert dvt.load_denoiser("runs/mine/weights.safetensors").config == denoiser.config, "the folder around it counts"


@pytest.mark.parametrize("kind", Kind)
def test_every_architecture(here, kind):
    denoiser = dvt.Denoiser(DenoiserConfig(kind=kind, position_embedding=False), 192, (4, 6))
    denoiser.info = INFO
    denoiser.save_pretrained("m")
    assert dvt.load_denoiser("m").config == denoiser.config


def test_another_grid_is_written_down(denoiser):
    denoiser.set_grid((3, 5))
    denoiser.save_pretrained("m")
    again = dvt.load_denoiser("m")
    assert again.grid_hw == (3, 5) and again.info.spec.grid == PatchGrid.of((48, 80), 16)


def test_a_card_that_is_there_stays(denoiser, here):
    (here / "m").mkdir()
    (here / "m" / "README.md").write_text("mine")
    denoiser.save_pretrained("m")
    assert (here / "m" / "README.md").read_text() == "mine"


def test_a_card_of_ours_goes_with_the_model(denoiser, here):
    denoiser.save_pretrained("m")
    first = (here / "m" / "README.md").read_text()
    denoiser.info = replace(denoiser.info, metrics={"mse": 0.777})
    denoiser.save_pretrained("m")
    second = (here / "m" / "README.md").read_text()
    assert "0.777" in second and "0.777" not in first
    (here / "m" / "README.md").write_text(second + "edited")
    denoiser.info = replace(denoiser.info, metrics={"mse": 0.888})
    denoiser.save_pretrained("m")
    assert "0.888" not in (here / "m" / "README.md").read_text(), "an edited card is somebody's work"


def test_without_info_nothing_is_written(here):
    denoiser = dvt.Denoiser(DenoiserConfig(), 64, (4, 4))
    assert denoiser.info is None
    with pytest.raises(WeightsError, match=r"does not say which backbone.*dvt convert"):
        denoiser.save_pretrained("m")
    assert not (here / "m").exists()


def test_tensors_that_do_not_fit_the_config(here):
    state = block_state(192, 24)
    write_model_folder("m", state, replace(INFO, architecture={"num_blocks": 2}))
    with pytest.raises(WeightsError, match=r"m does not fit the model(?s:.)*denoiser.0.norm1.weight"):
        dvt.load_denoiser("m")
    for architecture in ({"colour": "red"}, {"kind": "mamba"}, {"num_blocks": 0}, {"head_channels": 100}):
        write_model_folder("m", state, replace(INFO, architecture=architecture))
        with pytest.raises(WeightsError, match="not known to this dvt"):
            dvt.load_denoiser("m")


def test_another_kind_of_folder(here):
    save_model("student", block_state(), replace(INFO, kind="distilled"))
    for load in (dvt.load_denoiser, dvt.Denoiser.from_pretrained):
        with pytest.raises(WeightsError, match=r"whole ViT|a distilled ViT"):
            load("student")
    save_model("fixed", block_state(), replace(INFO, kind="fixed_size"))
    with pytest.raises(WeightsError, match="load_fixed_size"):
        dvt.load_denoiser("fixed")


def header(card):
    start, text, _ = card.split("---\n", 2)
    assert start == ""
    return yaml.safe_load(text)


def test_the_card_says_what_it_is():
    card = model_card(replace(INFO, architecture={"kind": "block", "num_blocks": 1}), "me/mine")
    assert header(card) == {
        "library_name": "dvt",
        "pipeline_tag": "image-feature-extraction",
        "license": "apache-2.0",
        "base_model": "timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k",
        "tags": ["dvt", "vision-transformer", "dense-features", "denoising", "timm"],
    }
    for part in (
        'dvt.load_denoised("vit_tiny_patch16_224.augreg_in21k_ft_in1k", weights="me/mine")',
        "(1, 4, 6, 192)",
        "| mse | 0.1235 |",
        "| position \\| share | 0.5 |",
        "| data.sha256 |",
        "| stage1.0.quality | fast |",
        "| sizes | [1, 2] |",
        "after block 11, with the final norm (counted from 0)",
        "64 x 96 px: 4 x 6 patches of 16 px",
        "| architecture: num_blocks | 1 |",
        "position of a patch is removed",
        "are under: apache-2.0",
        "`" + "ab" * 32 + "`",
    ):
        assert part in card, part


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"base_license": None}, ["is not recorded here"]),
        ({"base_license": "dinov3-license"}, ["license: other", "license_name: dinov3-license"]),
        ({"kind": "distilled"}, ["load into the plain model of its library", "may have drifted"]),
        ({"kind": "fixed_size"}, ["load_fixed_size", "(B, 3, 64, 96)"]),
        (
            {"training": {}, "metrics": {}, "spec": replace(INFO.spec, weights_hash=None)},
            ["Not recorded.", "not recorded"],
        ),
        ({"spec": replace(INFO.spec, backbone="somebody_elses_vit")}, ["somebody_elses_vit"]),
        (
            {"spec": replace(INFO.spec, backbone="transformers:facebook/dinov2-small")},
            [
                "base_model: facebook/dinov2-small",
                "- transformers",
                "| needs | `pip install 'denoising-vit[transformers]'` |",
            ],
        ),
        (
            {"spec": replace(INFO.spec, backbone="torch_hub:owner/vits:vit_small", earlier_layers=(2, 5))},
            ["- torch_hub", "the repository, whose code makes the ViT", "after blocks 2, 5 and 11"],
        ),
    ],
)
def test_cards_of_other_models(changes, parts):
    card = model_card(replace(INFO, **changes), "me/mine")
    assert header(card)["library_name"] == "dvt" and ("license" in header(card)) is (
        changes.get("base_license", "") is not None
    )
    assert all(part in card for part in parts)
