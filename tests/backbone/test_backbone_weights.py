"""Weights into a ViT: timm's keys, the authors' keys, and what does not fit."""

import argparse
import logging
import pickle

import pytest
import torch
from safetensors.torch import save_file
from timm.layers import resample_abs_pos_embed

from dvt.backbone.load import load_backbone
from dvt.backbone.sources.timm_build import build_vit
from dvt.backbone.sources.timm_reader import TimmReader
from dvt.backbone.sources.timm_weights import fetch_weights, fill
from dvt.backbone.weights import load_weights, state_hash
from dvt.errors import WeightsError

HEAD = {"head.weight": torch.ones(1000, 192), "head.bias": torch.ones(1000)}


@pytest.fixture(scope="module")
def trained():
    """State of the smallest real ViT, with weights that are not those of `random`."""
    vit = build_vit("vit_tiny_patch16_224")
    generator = torch.Generator().manual_seed(3)
    return {key: torch.randn(tensor.shape, generator=generator) * 0.1 for key, tensor in vit.state_dict().items()}


def written(path, state):
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    return path


@pytest.mark.parametrize("head", [HEAD, {}], ids=["with head", "without head"])
@pytest.mark.parametrize("name", ["a.safetensors", "a.pth", "a.bin"])
def test_a_local_file_round_trip(tmp_path, trained, name, head, images):
    path = written(tmp_path / name, {**trained, **head})
    backbone = load_backbone("vit_tiny_patch16_224", weights=path, image_size=32, device="cpu")
    state = backbone.vit.state_dict()
    assert set(state) == set(trained)
    assert all(torch.equal(state[key], trained[key]) for key in trained)
    assert backbone.weights_hash == state_hash(backbone.vit)  # the same in every format
    assert backbone(images(1, 32, 32)).patches.shape == (1, 2, 2, 192)


def test_random_is_reproducible_and_leaves_the_generators_alone():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    first = load_backbone("vit_tiny_patch16_224", weights="random", device="cpu")
    assert torch.equal(torch.rand(3), expected)
    torch.manual_seed(99)
    again = load_backbone("vit_tiny_patch16_224", weights="random", device="cpu", precision="bf16")
    assert first.weights_hash == again.weights_hash  # of the weights, not of the number format they run in
    other = load_backbone("deit_tiny_patch16_224", weights="random", device="cpu")
    assert other.weights_hash != first.weights_hash


def test_state_hash_sees_names_shapes_and_values(small_vit):
    vit = small_vit()
    before = state_hash(vit)
    assert before == state_hash(small_vit())
    with torch.no_grad():
        vit.blocks[0].attn.qkv.weight[0, 0] += 1e-3
    assert state_hash(vit) != before


def test_missing_extra_and_mis_shaped_keys_are_reported(tmp_path, trained):
    broken = {key: tensor for key, tensor in trained.items() if not key.startswith("blocks.11.")}
    broken |= {"blocks.12.norm1.weight": torch.ones(192), "norm.bias": torch.ones(7)}
    path = written(tmp_path / "a.pth", broken)
    vit = build_vit("vit_tiny_patch16_224")
    before = state_hash(vit)
    with pytest.raises(WeightsError) as caught:
        load_weights(TimmReader(vit), path)
    lines = str(caught.value).splitlines()
    assert lines[0] == (
        f"{path} (timm or the model's authors) does not fit vit_tiny_patch16_224.augreg_in21k_ft_in1k. Give weights of"
        " this very model, or the timm name of the model that they are of."
    )
    assert lines[1:3] == ["12 missing from the file:", "    blocks.11.norm1.weight"]
    assert lines[9:] == [
        "    blocks.11.norm2.bias",
        "    and 4 more",
        "1 in the file but not in the model:",
        "    blocks.12.norm1.weight",
        "1 of another shape:",
        "    norm.bias: (192) in the model, (7) in the file",
    ]
    assert state_hash(vit) == before


def test_weights_of_another_patch_size_are_refused(small_vit):
    """timm would resample the kernel, and give features of a model that nobody trained."""
    state = small_vit("vit_small_patch14_dinov2").state_dict()
    with pytest.raises(WeightsError, match=r"dino.pth holds a ViT with patches of 14 x 14 px .* patches of 16 x 16 px"):
        fill(small_vit("vit_small_patch16_224"), state, source="dino.pth")


def test_a_position_embedding_of_another_grid_is_resampled_and_said(small_vit, caplog):
    state = small_vit("vit_small_patch16_384").state_dict()
    vit = small_vit("vit_small_patch16_224")
    with caplog.at_level(logging.WARNING, logger="dvt"):
        fill(vit, state, source="a.pth")
    assert "position embedding of a.pth has 577 entries" in caplog.text
    assert "has 197: it was resampled" in caplog.text
    torch.testing.assert_close(vit.pos_embed.data, resample_abs_pos_embed(state["pos_embed"], new_size=[14, 14]))


def renamed(state, swaps):
    for ours, theirs in swaps:
        state = {key.replace(ours, theirs): tensor for key, tensor in state.items()}
    return state


def as_dinov2(state):
    return {**state, "mask_token": torch.zeros(1, 64)}


def as_dinov2_with_registers(state):
    out = {key: tensor for key, tensor in state.items() if key not in ("reg_token", "pos_embed", "cls_token")}
    place = torch.full((1, 1, 64), 0.25)  # the authors' class token has a position of its own
    return {
        **out,
        "mask_token": torch.zeros(1, 64),
        "register_tokens": state["reg_token"],
        "cls_token": state["cls_token"] - place,
        "pos_embed": torch.cat([place, state["pos_embed"]], dim=1),
    }


def as_deit3(state):
    return renamed(state, (("ls1.gamma", "gamma_1"), ("ls2.gamma", "gamma_2")))


def as_openai_clip(state):
    swaps = (
        ("patch_embed.proj", "conv1"), ("blocks.", "transformer.resblocks."), ("norm_pre", "ln_pre"),
        ("attn.qkv.", "attn.in_proj_"), ("attn.proj", "attn.out_proj"), ("norm1", "ln_1"), ("norm2", "ln_2"),
        ("mlp.fc1", "mlp.c_fc"), ("mlp.fc2", "mlp.c_proj"),
    )  # fmt: skip
    out = {"transformer.text": torch.ones(3), "visual.proj": torch.ones(64, 512)}
    for key, tensor in renamed(state, swaps).items():
        match key:
            case "cls_token":
                out["visual.class_embedding"] = tensor[0, 0]
            case "pos_embed":
                out["visual.positional_embedding"] = tensor[0]
            case _:
                out[f"visual.{key.replace('norm.', 'ln_post.')}"] = tensor
    return out


def as_dinov3(state):
    out = {"mask_token": torch.zeros(1, 64), "rope_embed.periods": torch.ones(4)}
    swaps = (("gamma_1", "ls1.gamma"), ("gamma_2", "ls2.gamma"), ("reg_token", "storage_tokens"))
    return out | renamed(state, swaps) | {f"blocks.{index}.attn.qkv.bias": torch.zeros(192) for index in range(2)}


@pytest.mark.parametrize(
    ("timm_name", "theirs", "said"),
    [
        ("vit_small_patch14_dinov2", as_dinov2, []),
        ("vit_small_patch14_reg4_dinov2", as_dinov2_with_registers, []),
        ("deit3_small_patch16_224", as_deit3, []),
        (
            "vit_base_patch16_clip_quickgelu_224.openai",
            as_openai_clip,
            ["theirs.pth: laid aside, as no part of the ViT: transformer (1 tensor)."],
        ),
        ("vit_small_patch16_dinov3", as_dinov3, []),
    ],
)
def test_key_names_of_the_authors(timm_name, theirs, said, small_vit, caplog, capsys):
    state = small_vit(timm_name).state_dict()
    foreign = theirs(state)
    assert set(foreign) != set(state)
    vit = build_vit(timm_name, depth=2, embed_dim=64, num_heads=4, mlp_ratio=4)
    assert state_hash(vit) != state_hash(small_vit(timm_name))
    fill(vit, foreign, source="theirs.pth")
    for key, tensor in vit.state_dict().items():
        torch.testing.assert_close(tensor, state[key], atol=1e-6, rtol=0)
    assert [record.getMessage() for record in caplog.records] == said
    assert not "".join(capsys.readouterr())


def test_a_dino_training_checkpoint(tmp_path, trained):
    heads = {f"module.{name}.mlp.0.weight": torch.ones(2) for name in ("head", "dino_head", "ibot_head")}
    teacher = {f"module.backbone.{key}": tensor for key, tensor in trained.items()} | heads
    student = {key: torch.zeros_like(tensor) for key, tensor in teacher.items()}
    content = {"student": student, "teacher": teacher, "epoch": 9, "args": argparse.Namespace(arch="vit_tiny")}
    vit = build_vit("vit_tiny_patch16_224.augreg_in21k_ft_in1k")
    load_weights(TimmReader(vit), written(tmp_path / "checkpoint.pth", content))
    assert torch.equal(vit.state_dict()["cls_token"], trained["cls_token"])


def test_a_file_that_timm_cannot_translate(small_vit):
    state = small_vit().state_dict() | {"pos_embed": torch.ones(3)}
    with pytest.raises(WeightsError, match=r"a.pth for vit_tiny.*Give weights of this very model"):
        fill(small_vit(), state, source="a.pth")


@pytest.mark.parametrize("timm_name", ["vit_huge_patch14_gap_224.in1k_ijepa", "vit_base_patch16_gap_224"])
def test_a_model_that_the_hub_does_not_have(timm_name):
    with pytest.raises(
        WeightsError, match=f"timm lists no weights of {timm_name} on the hub.*weights=random"
    ) as caught:
        fetch_weights(timm_name)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)  # workers send it


def test_the_wish_is_checked_before_weights_are_fetched():
    with pytest.raises(ValueError, match="layer 12 does not exist"):
        load_backbone("vit_tiny_patch16_224", layer=12, device="cpu")
