"""load_denoised: the ViT and its denoiser, checked against each other; a distilled ViT in their place."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from originals import block_state, run_blocks
from PIL import Image

import dvt
from dvt.denoiser.config import DenoiserConfig, Kind
from dvt.denoiser.denoised import joined_state
from dvt.errors import ConfigError, GeometryError, WeightsError
from dvt.weights.convert import convert
from dvt.weights.folder import read_model_folder, read_model_info, write_model_folder

TINY = "vit_tiny_patch16_224.augreg_in21k_ft_in1k"


def load(weights, backbone="augreg_tiny", **options):
    return dvt.load_denoised(backbone, weights, device="cpu", **{"backbone_weights": "random", **options})


@pytest.fixture
def original(save):
    """A file of the original for 4 x 4 patches."""
    return save({"denoiser": block_state(192)}, f"checkpoints/mine_denoised/{TINY}.pth")


@pytest.fixture
def ours(original):
    """The same as a model folder that knows its ViT."""
    model, _ = load(original)
    spec = replace(model.backbone.spec, layer=5, norm=False)
    model.denoiser.info = replace(model.denoiser.info, spec=spec)
    model.denoiser.save_pretrained("ours")
    return "ours"


@pytest.mark.parametrize("how", ["recipe", "name", "path", "folder"])
def test_a_denoiser_of_the_original(original, how):
    weights = {
        "recipe": "mine_denoised",
        "name": f"mine_denoised/{TINY}",
        "path": original,
        "folder": "checkpoints/mine_denoised",
    }[how]
    model, preprocess = load(weights)
    image = preprocess(torch.rand(3, 50, 70))
    assert isinstance(model, dvt.DenoisedBackbone) and image.shape == (3, 64, 64), "the size of its 4 x 4 patches"
    raw = model.backbone(image[None])
    assert (model.layer, model.norm) == (11, True)
    expected = run_blocks(block_state(192), raw.patches.flatten(1, 2)).unflatten(1, (4, 4))
    clean = model(image[None])
    assert (clean.patches - expected).abs().max() <= 1e-5
    assert torch.equal(clean.prefix, raw.prefix)


def test_ours_is_read_where_it_was_trained(ours):
    model, _ = load(ours)
    assert (model.layer, model.norm, model.grid.image_hw) == (5, False, (64, 64))
    model, preprocess = load(ours, image_size=(80, 48), stride=8)
    assert preprocess.image_hw == (80, 48) and model.grid.hw == (9, 5)
    assert model(torch.rand(1, 3, 80, 48)).patches.shape == (1, 9, 5, 192)
    with pytest.raises(GeometryError):
        load(ours, image_size=65)


def test_another_backbone_or_other_weights_are_named(ours, save, tiny_vit_state):
    with pytest.raises(WeightsError) as caught:
        load(ours, backbone="vit_small_patch16_224.dino")
    message = str(caught.value)
    assert f"backbone: '{TINY}' in the weights, 'vit_small_patch16_224.dino' in the backbone" in message
    assert "channels: 192 in the weights, 384 in the backbone" in message
    other = save({key: tensor + 1 for key, tensor in tiny_vit_state.items()}, "other.pth")
    with pytest.raises(WeightsError, match=r"weights_hash: .*(?s:.)*backbone_weights="):
        load(ours, backbone_weights=other)


def test_a_hash_that_was_not_recorded_is_not_checked(ours, save, tiny_vit_state):
    state = dvt.load_denoiser(ours).state_dict()
    info = read_model_info(ours)
    write_model_folder("open", state, replace(info, spec=replace(info.spec, weights_hash=None)))
    other = save({key: tensor + 1 for key, tensor in tiny_vit_state.items()}, "other.pth")
    assert load("open", backbone_weights=other)[0].layer == 5


def test_a_file_for_another_number_of_channels(save):
    path = save({"denoiser": block_state(64)}, "a.pth")
    with pytest.raises(WeightsError, match=r"a.pth is made for 64 channels, .* has 192"):
        load(path)


def test_a_released_denoiser_of_another_backbone(save):
    save({"denoiser": block_state(768, 4)}, "checkpoints/voc_denoised/vit_base_patch14_dinov2.lvd142m.pth")
    with pytest.raises(
        WeightsError, match=r"'vit_base_patch14_dinov2.lvd142m' in the weights, 'vit_base_patch16_224.dino' in"
    ):
        load("voc_denoised/dinov2_base", backbone="dino_base")


@pytest.mark.parametrize("key", ["model", "denoiser", "folder"])
def test_a_distilled_vit(save, tiny_vit_state, ours, key):
    student = {name: tensor + 0.01 for name, tensor in tiny_vit_state.items()}
    if key == "folder":
        weights = "student"
        write_model_folder(weights, student, replace(read_model_info(ours), kind="distilled", architecture={}))
    else:
        content = {key: {f"model.{name}": tensor for name, tensor in student.items()}, "optimizer": {}, "step": 3}
        weights = save(content, f"checkpoints/mine_distilled/{TINY}.pth")
        assert dvt.load_backbone("augreg_tiny", weights=weights, image_size=64, device="cpu").num_channels == 192
    model, preprocess = load(weights, backbone_weights=None)
    assert isinstance(model, dvt.Backbone)
    for name, tensor in model.vit.state_dict().items():
        assert torch.equal(tensor, student[name])
    size, layer, norm = ((64, 64), 5, False) if key == "folder" else ((224, 224), 11, True)
    assert (preprocess.image_hw, model.layer, model.norm) == (size, layer, norm)
    with pytest.raises(ConfigError, match="leave one of them out"):
        load(weights, backbone_weights="random")
    with pytest.raises(WeightsError, match=r"does not belong|does not fit"):
        load(weights, backbone="vit_small_patch16_224.dino", backbone_weights=None)


@pytest.fixture
def both(ours, tiny_vit_state):
    """A model folder with a ViT and a linear denoiser that reads two of its blocks; and the tensors of both."""
    vit = {name: tensor + 0.01 for name, tensor in tiny_vit_state.items()}
    rng = torch.Generator().manual_seed(0)
    shapes = {"mixing.linear.weight": (192, 3 * 192), "mixing.linear.bias": (192,)}
    denoiser = {name: 0.05 * torch.randn(shape, generator=rng) for name, shape in shapes.items()}
    architecture = asdict(DenoiserConfig(kind=Kind.linear, layers=[1, 3]))
    info = replace(read_model_info(ours), kind="denoised", architecture=architecture)
    write_model_folder("both", joined_state(vit, denoiser), info)
    return vit, denoiser


def test_a_vit_with_its_denoiser_in_one_folder(both):
    vit, denoiser = both
    model, _ = load("both", backbone=None, backbone_weights=None)
    assert isinstance(model, dvt.DenoisedBackbone) and model.layer == 5
    assert all(torch.equal(tensor, vit[name]) for name, tensor in model.backbone.vit.state_dict().items())
    batch = torch.rand(1, 3, 64, 64)
    second, fourth, own = model.backbone.forward_layers(batch, [1, 3])
    normed = [torch.nn.functional.layer_norm(each.patches, (192,), eps=1e-6) for each in (second, fourth)]
    wanted = torch.cat([own.patches, *normed], dim=-1) @ denoiser["mixing.linear.weight"].T
    torch.testing.assert_close(model(batch).patches, wanted + denoiser["mixing.linear.bias"])
    assert torch.equal(model(batch).prefix, own.prefix)


def test_a_vit_with_its_denoiser_is_not_taken_for_one_of_them(both):
    with pytest.raises(ConfigError, match="leave one of them out"):
        load("both", backbone_weights="random")
    with pytest.raises(WeightsError, match=r"both is a ViT with its denoiser, not a denoiser. Load .* weights='both'"):
        dvt.load_denoiser("both")
    with pytest.raises(WeightsError, match=r"a ViT and the denoiser that was trained with it: load both with"):
        dvt.load_backbone("augreg_tiny", weights="both/weights.safetensors", device="cpu")
    Path("both/weights.safetensors").rename("alone.safetensors")
    with pytest.raises(WeightsError, match=r"its config.json, .* is not beside it: give the whole folder"):
        load("alone.safetensors", backbone_weights=None)
    Path("alone.safetensors").rename("both/weights.safetensors")
    with pytest.raises(WeightsError, match=r"has no place for both: keep it"):
        convert("both", "both.pth")
    with pytest.raises(WeightsError, match=r"holds a ViT with its denoiser .*Load it whole: dvt.load_denoised"):
        read_model_folder("both", kind="denoiser")
    with pytest.raises(WeightsError, match=f"backbone: '{TINY}' in the weights"):
        load("both", backbone="deit_tiny_patch16_224", backbone_weights=None)


def test_weights_that_say_their_backbone_need_no_name(ours, save, monkeypatch):
    model, _ = dvt.load_denoised(weights=ours, backbone_weights="random", device="cpu")
    assert model.backbone.full_name == TINY and model.layer == 5
    save({"denoiser": block_state(384, 4)}, "checkpoints/voc_denoised/vit_small_patch14_dinov2.lvd142m.pth")
    model, _ = load("voc_denoised/dinov2_small", backbone=None)
    assert model.backbone.full_name == "vit_small_patch14_dinov2.lvd142m"


SETTINGS = {"denoiser": {"kind": "block"}, "data": "00"}
FEATURES = {"backbone": TINY, "weights_hash": "0", "layer": 3, "norm": False, "image_hw": [64, 96], "stride": 16}


def checkpoint(save, state, settings):
    content = {"state_dict": {f"network.{key}": tensor for key, tensor in state.items()}, "dvt": {"settings": settings}}
    return save(content, "run/checkpoints/step-00000002.ckpt")


def test_a_checkpoint_of_our_training_has_to_say_its_features(save):
    path = checkpoint(save, block_state(192), SETTINGS)
    assert dvt.load_denoiser(path).info is None
    with pytest.raises(WeightsError, match=r"does not say which features(?s:.)*folder of the run"):
        load(path)
    known = dvt.load_backbone(TINY, weights="random", image_size=64, device="cpu").weights_hash
    checkpoint(save, block_state(192, positions=0), {**SETTINGS, "features": {**FEATURES, "weights_hash": known}})
    model, preprocess = load(path, backbone=None)
    assert (model.layer, model.norm, preprocess.image_hw) == (3, False, (64, 96))
    assert dvt.load_denoiser(path).info.spec.backbone == TINY


def test_a_checkpoint_of_another_vit_is_refused(save):
    path = checkpoint(save, block_state(192, positions=0), {**SETTINGS, "features": FEATURES})
    with pytest.raises(WeightsError, match=r"weights_hash: '0.*' in the weights"):
        load(path)
    with pytest.raises(WeightsError, match=f"backbone: '{TINY}' in the weights"):
        load(path, backbone="deit_tiny_patch16_224")


def test_the_folder_of_an_unfinished_run(save):
    checkpoint(save, block_state(192), SETTINGS)
    with pytest.raises(WeightsError, match=r"run that has not finished(?s:.)*step-00000002.ckpt"):
        load("run")


def test_a_checkpoint_of_a_student(save, tiny_vit_state):
    state = {f"backbone.vit.{key}": tensor for key, tensor in tiny_vit_state.items()}
    path = checkpoint(save, state, {"denoiser": "runs/denoiser", "features": FEATURES})
    model, _ = load(path, backbone_weights=None)
    assert (type(model), model.layer, model.norm) == (dvt.Backbone, 3, False)
    assert torch.equal(model.vit.state_dict()["cls_token"], tiny_vit_state["cls_token"])


def test_preprocess_takes_every_kind_of_picture(original, here):
    _, preprocess = load(original)
    pixels = np.random.default_rng(0).integers(256, size=(90, 70, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(here / "a.png")
    tensor = torch.from_numpy(pixels).permute(2, 0, 1).float() / 255
    views = [preprocess(each) for each in ("a.png", here / "a.png", Image.open(here / "a.png"), tensor, pixels)]
    for view in views:
        assert view.shape == (3, 64, 64) and torch.equal(view, views[0])
    edge = torch.zeros(3, 96, 96)
    edge[:, :, 48:] = 1
    assert preprocess(edge).aminmax() == (0, 1), "bicubic interpolation would overstep"


def test_preprocess_goes_to_other_processes(original):
    import pickle

    _, preprocess = load(original)
    assert pickle.loads(pickle.dumps(preprocess)) == preprocess


def test_half_precision(original):
    model, _ = load(original, precision="bf16")
    assert model(torch.rand(1, 3, 64, 64)).patches.dtype == torch.bfloat16


def test_a_backbone_that_does_not_exist(original):
    with pytest.raises(dvt.DvtError, match="dinov2_base"):
        load(original, backbone="dinov2_bas")
