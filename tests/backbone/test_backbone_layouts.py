"""Weights in the layouts of other programs: each is written here by hand, and has to give what timm's file gives."""

import logging

import pytest
import torch
from safetensors.torch import save_file
from small_vits import SMALL

from dvt.backbone.sources.timm_build import build_vit
from dvt.backbone.sources.timm_reader import TimmReader
from dvt.backbone.weights import load_weights
from dvt.errors import WeightsError

PLAIN = "vit_base_patch16_224"
DINOV2 = "vit_small_patch14_dinov2"
REGISTERS = "vit_small_patch14_reg4_dinov2"
CLIP = "vit_base_patch16_clip_quickgelu_224.openai"
SIGLIP = "vit_base_patch16_siglip_224"
DINOV3 = "vit_small_patch16_dinov3_qkvb"


def under(prefix, state):
    return {prefix + key: tensor for key, tensor in state.items()}


def renamed(state, *pairs):
    for ours, theirs in pairs:
        state = {key.replace(ours, theirs): tensor for key, tensor in state.items()}
    return state


def other(state):
    return {key: tensor + 1 for key, tensor in state.items()}


def head(name, *, width=3):
    return {f"{name}.mlp.0.weight": torch.ones(width, 64), f"{name}.last_layer.weight_g": torch.ones(width, 1)}


def chunked(state, *, restart=False):
    """Two chunks of one block; DINOv2 counts the blocks through, others begin again."""
    return renamed(state, ("blocks.0.", "blocks.0.0."), ("blocks.1.", "blocks.1.0." if restart else "blocks.1.1."))


def split(state, query, key, value):
    """qkv as three matrices."""
    out = {}
    for name, tensor in state.items():
        if ".attn.qkv." in name:
            for part, module in zip(tensor.chunk(3), (query, key, value), strict=True):
                out[name.replace("attn.qkv", module)] = part.clone()
        else:
            out[name] = tensor
    return out


def dinov2_training(state):
    teacher = {**under("backbone.", chunked(state)), **head("dino_head"), **head("ibot_head")}
    student = other(teacher) | {"backbone.mask_token": torch.ones(1, 64)}
    losses = {"dino_loss.center": torch.ones(1, 3), "ibot_patch_loss.center": torch.ones(1, 1, 3)}
    return {"model": {**under("student.", student), **under("teacher.", teacher), **losses}, "iteration": 9}


def dinov2_teacher(state):
    teacher = {**under("backbone.", chunked(state)), **head("dino_head"), "backbone.mask_token": torch.ones(1, 64)}
    return {"teacher": teacher}


def dinov3_training(state):
    """Its teacher is there under two names, and an earlier one beside it."""
    teacher = {**under("backbone.", state), **head("dino_head")}
    older = under("gram_teacher.", other(teacher)) | under("student.", other(teacher))
    return older | under("teacher.", teacher) | under("model_ema.", teacher) | {"gram_loss.weight": torch.ones(1)}


def dinov2_registers(state):
    place = torch.full((1, 1, 64), 0.25)  # the authors' class token has a position of its own
    kept = {key: tensor for key, tensor in state.items() if key not in ("reg_token", "pos_embed", "cls_token")}
    return {
        **chunked(kept),
        "register_tokens": state["reg_token"],
        "cls_token": state["cls_token"] - place,
        "pos_embed": torch.cat([place, state["pos_embed"]], dim=1),
    }


def sharded(state):
    inner = renamed(chunked(state), ("blocks.0.", "blocks.0._fsdp_wrapped_module."), ("mlp.", "mlp._orig_mod."))
    return {"model": under("_orig_mod.teacher.backbone._fsdp_wrapped_module.", inner)}


def dino(state):
    teacher = {**under("backbone.", state), **head("head")}
    return {"student": under("module.", other(teacher)), "teacher": teacher, "optimizer": {"lr": 1.0}, "epoch": 3}


def ibot(state):
    student = under("module.backbone.", other(state)) | {"module.backbone.masked_embed": torch.ones(1, 64)}
    teacher = under("module.backbone.", state) | head("module.head") | {"module.head.last_layer2.weight": torch.ones(3)}
    return {"student": student, "teacher": teacher, "ibot_loss": {"center": torch.ones(3)}, "fp16_scaler": None}


def mae(state):
    decoder = {
        "mask_token": torch.ones(1, 1, 32),
        "decoder_pos_embed": torch.ones(1, 197, 32),
        "decoder_embed.weight": torch.ones(32, 64),
        "decoder_blocks.0.norm1.weight": torch.ones(32),
        "decoder_norm.weight": torch.ones(32),
        "decoder_pred.weight": torch.ones(768, 32),
    }
    return {"model": {**state, **decoder}, "optimizer": {}, "epoch": 799}


def lightning(prefix):
    return lambda state: {
        "state_dict": {**under(prefix, state), "classifier.weight": torch.ones(3, 64), "criterion.pos": torch.ones(3)},
        "optimizer_states": [],
        "hyper_parameters": {"lr": 0.1},
    }


def averaged(name):
    return lambda state: {"model": other(state), name: under("module.", state) | {"n_averaged": torch.tensor(4)}}


def averaged_inside(state):
    return (
        under("online_model.", other(state))
        | under("ema_model.", state)
        | {"initted": torch.tensor(True), "step": torch.tensor(1)}
    )


def moco(state):
    heads = head("predictor") | head("momentum_encoder.head") | head("base_encoder.head")
    both = under("base_encoder.", state) | under("momentum_encoder.", other(state)) | heads
    return {"state_dict": under("module.", both)}


def momentum_backbone(state):
    return {"state_dict": under("backbone.", state) | under("momentum_backbone.", other(state)) | head("projector")}


IN_TRANSFORMERS = (
    ("blocks.", "encoder.layer."),
    ("cls_token", "embeddings.cls_token"), ("pos_embed", "embeddings.position_embeddings"),
    ("patch_embed.proj", "embeddings.patch_embeddings.projection"), ("attn.proj", "attention.output.dense"),
)  # fmt: skip


def of_transformers(state):
    state = split(state, "attention.attention.query", "attention.attention.key", "attention.attention.value")
    state = {key if key.startswith("blocks.") else key.replace("norm.", "layernorm."): state[key] for key in state}
    return renamed(state, *IN_TRANSFORMERS)


def transformers_vit(state):
    names = (("norm1", "layernorm_before"), ("norm2", "layernorm_after"))
    return renamed(of_transformers(state), *names, ("mlp.fc1", "intermediate.dense"), ("mlp.fc2", "output.dense"))


def transformers_5_vit(state):
    state = split(state, "attention.q_proj", "attention.k_proj", "attention.v_proj")
    state = {key if key.startswith("blocks.") else key.replace("norm.", "layernorm."): state[key] for key in state}
    names = (("norm1", "layernorm_before"), ("norm2", "layernorm_after"), ("attn.proj", "attention.o_proj"))
    return renamed(state, *names, ("blocks.", "layers."), *IN_TRANSFORMERS[1:])


def transformers_classifier(state):
    return under("vit.", transformers_vit(state)) | {"classifier.weight": torch.ones(3, 64)}


def transformers_mae(state):
    decoder = {
        "decoder.mask_token": torch.ones(3),
        "decoder.decoder_layers.0.attention.attention.query.bias": torch.ones(3),
    }
    return under("vit.", transformers_vit(state)) | decoder


def transformers_deit(state):
    heads = {"cls_classifier.weight": torch.ones(3), "distillation_classifier.weight": torch.ones(3)}
    return under("deit.", renamed(transformers_vit(state), ("dist_token", "embeddings.distillation_token"))) | heads


def transformers_dinov2(state):
    scales = (("ls1.gamma", "layer_scale1.lambda1"), ("ls2.gamma", "layer_scale2.lambda1"))
    return renamed(of_transformers(state), *scales) | {"embeddings.mask_token": torch.ones(1, 64)}


def transformers_depth(state):
    beside = {"neck.convs.0.weight": torch.ones(3), "head.conv1.weight": torch.ones(3)}
    return under("backbone.", transformers_dinov2(state)) | beside


def transformers_registers(state):
    theirs = {key: tensor for key, tensor in dinov2_registers(state).items() if "blocks" not in key}
    blocks = {key: tensor for key, tensor in state.items() if "blocks" in key}
    names = ("register_tokens", "embeddings.register_tokens")
    return under("dinov2_with_registers.", renamed(transformers_dinov2(theirs | blocks), names))


def transformers_swiglu(state):
    return renamed(transformers_dinov2(state), ("mlp.fc1", "mlp.weights_in"), ("mlp.fc2", "mlp.weights_out"))


def transformers_5_swiglu(state):
    out = {}
    for key, tensor in transformers_swiglu(state).items():
        gate, up = tensor.chunk(2) if "weights_in" in key else (None, None)
        if gate is None:
            out[key.replace("weights_out", "down_proj")] = tensor
        else:
            out[key.replace("weights_in", "up_proj")], out[key.replace("weights_in", "gate_proj")] = up, gate
    return out


def authors_swiglu(state):
    return renamed(state, ("mlp.fc1", "mlp.w12"), ("mlp.fc2", "mlp.w3"))


def transformers_clip(state):
    state = split(state, "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
    blocks = {key: tensor for key, tensor in state.items() if key.startswith("blocks.")}
    names = (("blocks.", "encoder.layers."), ("norm", "layer_norm"), ("attn.proj", "self_attn.out_proj"))
    outside = {key: tensor for key, tensor in state.items() if key not in blocks}
    outside["position_embedding.weight"] = outside.pop("pos_embed")[0]
    if "cls_token" in outside:
        outside["class_embedding"] = outside.pop("cls_token")[0, 0]
    outer = (
        ("patch_embed.proj", "embeddings.patch_embedding"), ("position", "embeddings.position"),
        ("class", "embeddings.class"), ("norm.", "post_layernorm."), ("norm_pre", "pre_layrnorm"),
    )  # fmt: skip
    beside = {
        "text_model.final_layer_norm.weight": torch.ones(3),
        "logit_scale": torch.tensor(1.0),
        "visual_projection.weight": torch.ones(3, 64),
        "vision_model.embeddings.position_ids": torch.arange(5),
    }
    return beside | under("vision_model.", renamed(blocks, *names) | renamed(outside, *outer))


def transformers_siglip(state):
    return transformers_clip(state) | {"vision_model.head.probe": torch.ones(1, 1, 64), "logit_bias": torch.ones(1)}


def transformers_dinov3(state):
    blocks = {key: tensor for key, tensor in state.items() if ".q_bias" not in key and ".v_bias" not in key}
    names = (
        ("blocks.", "layer."), ("cls_token", "embeddings.cls_token"), ("reg_token", "embeddings.register_tokens"),
        ("patch_embed.proj", "embeddings.patch_embeddings"), ("attn.proj", "attention.o_proj"),
        ("gamma_1", "layer_scale1.lambda1"), ("gamma_2", "layer_scale2.lambda1"), ("mlp.fc1", "mlp.up_proj"),
        ("mlp.fc2", "mlp.down_proj"),
    )  # fmt: skip
    out = renamed(split(blocks, "attention.q_proj", "attention.k_proj", "attention.v_proj"), *names)
    for index in range(2):
        out[f"layer.{index}.attention.q_proj.bias"] = state[f"blocks.{index}.attn.q_bias"]
        out[f"layer.{index}.attention.v_proj.bias"] = state[f"blocks.{index}.attn.v_bias"]
    return {**out, "embeddings.mask_token": torch.ones(1, 1, 64)}


def openai_clip(state):
    inner = (
        ("patch_embed.proj", "conv1"), ("blocks.", "transformer.resblocks."), ("norm_pre", "ln_pre"),
        ("attn.qkv.", "attn.in_proj_"), ("attn.proj", "attn.out_proj"), ("norm1", "ln_1"), ("norm2", "ln_2"),
        ("mlp.fc1", "mlp.c_fc"), ("mlp.fc2", "mlp.c_proj"), ("norm.", "ln_post."),
    )  # fmt: skip
    out = renamed(state, *inner)
    out["class_embedding"] = out.pop("cls_token")[0, 0]
    out["positional_embedding"] = out.pop("pos_embed")[0]
    out["proj"] = torch.ones(64, 32)
    text = {"transformer.resblocks.0.ln_1.weight": torch.ones(3), "positional_embedding": torch.ones(7, 3),
            "token_embedding.weight": torch.ones(9, 3), "ln_final.weight": torch.ones(3)}  # fmt: skip
    return under(
        "module.", under("visual.", out) | text | {"text_projection": torch.ones(3, 3), "logit_scale": torch.ones(())}
    )


def openai_clip_visual(state):
    whole = openai_clip(state)
    return {key.removeprefix("module.visual."): whole[key] for key in whole if key.startswith("module.visual.")}


def open_clip(state):
    text = {
        "text.token_embedding.weight": torch.ones(3),
        "logit_bias": torch.ones(1),
        "visual.head.proj.weight": torch.ones(3),
    }
    return {"state_dict": under("module.", under("visual.trunk.", state) | text)}


def torchvision(state):
    blocks = (
        ("blocks.", "encoder.layers.encoder_layer_"), ("attn.qkv.", "self_attention.in_proj_"), ("norm1", "ln_1"),
        ("attn.proj", "self_attention.out_proj"), ("norm2", "ln_2"), ("mlp.fc1", "mlp.0"), ("mlp.fc2", "mlp.3"),
        ("norm.", "encoder.ln."), ("cls_token", "class_token"), ("pos_embed", "encoder.pos_embedding"),
        ("patch_embed.proj", "conv_proj"),
    )  # fmt: skip
    return renamed(state, *blocks) | {"heads.head.weight": torch.ones(3, 64)}


def openmmlab(state):
    names = (
        ("blocks.", "layers."), ("patch_embed.proj", "patch_embed.projection"), ("norm", "ln"), ("ln.", "ln1."),
        ("mlp.fc1", "ffn.layers.0.0"), ("mlp.fc2", "ffn.layers.1"),
    )  # fmt: skip
    return {"state_dict": under("backbone.", renamed(state, *names)) | {"decode_head.conv_seg.weight": torch.ones(3)}}


def openmmlab_segmentation(state):
    content = openmmlab(state)
    attention = (("attn.qkv.", "attn.attn.in_proj_"), ("attn.proj", "attn.attn.out_proj"))
    return {"meta": {}, "state_dict": renamed(content["state_dict"], *attention)}


@pytest.mark.parametrize(
    ("timm_name", "theirs", "aside"),
    [
        (PLAIN, lambda state: state, None),
        (PLAIN, lambda state: state | {"head.weight": torch.ones(3, 64)}, "head (1 tensor)"),
        (DINOV2, dinov2_training, "), teacher.dino_head (2 tensors), teacher.ibot_head (2 tensors), dino_loss (1"),
        (DINOV2, dinov2_teacher, "dino_head (2 tensors)"),
        (DINOV2, lambda state: under("student.backbone.", chunked(state)) | head("student.dino_head"), "dino_head"),
        (DINOV2, lambda state: chunked(state, restart=True), None),
        (DINOV2, sharded, None),
        (DINOV2, dinov3_training, "gram_teacher (36 tensors), student (36 tensors), teacher.dino_head (2 tensors)"),
        (REGISTERS, dinov2_registers, None),
        (PLAIN, dino, "head (2 tensors)"),
        (PLAIN, ibot, "head (3 tensors)"),
        ("vit_base_patch16_224.mae", mae, "decoder_pos_embed (1 tensor), decoder_embed (1 tensor), decoder_blocks (1"),
        (PLAIN, lightning("model."), "classifier (1 tensor), criterion (1 tensor)"),
        (PLAIN, lightning("net._orig_mod.backbone."), "classifier"),
        (PLAIN, lightning("encoder."), "classifier"),
        (PLAIN, averaged("model_ema"), None),
        (PLAIN, averaged("state_dict_ema"), None),
        (PLAIN, averaged("ema"), None),
        (PLAIN, averaged_inside, "online_model (30 tensors)."),
        (PLAIN, moco, "base_encoder.head (2 tensors)"),
        (PLAIN, momentum_backbone, "momentum_backbone"),
        (PLAIN, transformers_vit, None),
        (PLAIN, transformers_5_vit, None),
        (PLAIN, lambda state: transformers_vit(state) | {"pooler.dense.weight": torch.ones(64)}, "pooler (1 tensor)"),
        (PLAIN, transformers_classifier, "classifier (1 tensor)"),
        ("vit_base_patch16_224.mae", transformers_mae, "decoder (2 tensors)"),
        ("deit_tiny_distilled_patch16_224", transformers_deit, "cls_classifier (1 tensor), distillation_classifier"),
        (DINOV2, transformers_dinov2, None),
        (DINOV2, transformers_depth, "neck (1 tensor), head (1 tensor)"),
        (REGISTERS, transformers_registers, None),
        ("vit_giant_patch14_dinov2", transformers_swiglu, None),
        ("vit_giant_patch14_dinov2", transformers_5_swiglu, None),
        ("vit_giant_patch14_dinov2", authors_swiglu, None),
        (CLIP, transformers_clip, "text_model (1 tensor), logit_scale (1 tensor), visual_projection (1 tensor)"),
        (SIGLIP, transformers_siglip, "vision_model.head (1 tensor)"),
        (DINOV3, transformers_dinov3, None),
        (CLIP, openai_clip, "transformer (1 tensor), positional_embedding (1 tensor), token_embedding"),
        (CLIP, openai_clip_visual, None),
        (SIGLIP, open_clip, "text (1 tensor), logit_bias (1 tensor), visual.head (1 tensor)"),
        (PLAIN, torchvision, "heads (1 tensor)"),
        (PLAIN, openmmlab, "decode_head (1 tensor)"),
        (PLAIN, openmmlab_segmentation, "decode_head (1 tensor)"),
    ],
)  # fmt: skip
def test_every_layout_gives_the_tensors_of_timms_file(timm_name, theirs, aside, small_vit, tmp_path, caplog, images):
    source = small_vit(timm_name)
    if timm_name == REGISTERS:  # sums of such numbers are exact
        source.cls_token.data = source.cls_token.data.mul(1024).round() / 1024
    expected = source.state_dict()
    torch.save(theirs(expected), tmp_path / "theirs.pth")
    vit = build_vit(timm_name, **SMALL).eval()
    load_weights(TimmReader(vit), tmp_path / "theirs.pth")
    for key, tensor in vit.state_dict().items():
        assert torch.equal(tensor, expected[key]), key
    views = images(1, *source.patch_embed.img_size)
    with torch.no_grad():
        assert torch.equal(vit.forward_features(views), source.forward_features(views))
    lines = [record.getMessage() for record in caplog.records if "laid aside" in record.getMessage()]
    assert len(lines) == (aside is not None)
    assert aside is None or aside in lines[0]


def test_the_choice_between_two_sets_of_weights_is_said(small_vit, tmp_path, caplog):
    torch.save(dino(small_vit(PLAIN).state_dict()), tmp_path / "a.pth")
    load_weights(TimmReader(build_vit(PLAIN, **SMALL)), tmp_path / "a.pth")
    assert "a.pth holds teacher and student: teacher is taken." in caplog.text


def test_a_safetensors_file_of_transformers_in_half_precision(small_vit, tmp_path):
    state = small_vit(PLAIN).half().state_dict()
    save_file(transformers_classifier(state), tmp_path / "model.safetensors")
    vit = build_vit(PLAIN, **SMALL)
    load_weights(TimmReader(vit), tmp_path / "model.safetensors")
    assert torch.equal(vit.state_dict()["blocks.1.attn.qkv.weight"], state["blocks.1.attn.qkv.weight"].float())


def without(state, part):
    return {key: tensor for key, tensor in state.items() if part not in key}


@pytest.mark.parametrize(
    ("theirs", "parts"),
    [
        (
            lambda state: transformers_vit(state) | {"encoder.layer.0.attention.relative_position_bias": torch.ones(3)},
            ["a BEiT or Swin, another architecture", "Give a plain ViT"],
        ),
        (lambda state: state | {"blocks.0.attn.rel_pos_h": torch.ones(3)}, ["a SAM or ViTDet"]),
        (
            lambda state: under("base_model.model.", state | {"blocks.0.attn.qkv.lora_A.weight": torch.ones(3)}),
            ["LoRA adapters", "merge_and_unload", "blocks.0.attn.qkv.lora_A.weight"],
        ),
        (
            lambda state: under("left.", state) | under("right.", state),
            ["holds 2 ViTs, below left, right", "save the state dict of the one"],
        ),
        (
            lambda state: under("net.", state) | {"adapter.down": torch.ones(3), "adapter.up": torch.ones(3)},
            ["(timm or the model's authors) holds tensors beside its ViT", "adapter.down, adapter.up", "below 'net'"],
        ),
        (
            lambda state: renamed(state, ("blocks.0.", "blocks.0.0."), ("blocks.1.", "blocks.1.0."))
            | {"blocks.1.2.norm1.weight": torch.ones(64)},
            ["blocks.0.0, blocks.1.0, blocks.1.2, ...", "parts are missing"],
        ),
        (
            lambda state: transformers_vit(state) | {"encoder.layer.0.norm1.weight": torch.ones(64)},
            ["1 in the file but not in the model:\n    encoder.layer.0.norm1.weight"],
        ),
        (lambda state: without(chunked(state), "blocks.0.0."), ["blocks in chunks", "blocks.1.1", "parts are missing"]),
        (
            lambda state: without(transformers_vit(state), "layer.1.attention.attention.key.weight"),
            [
                "(transformers: ViT, DeiT, DINOv2) does not fit", "blocks.1.attn.qkv.weight",
                "encoder.layer.1.attention.attention.query.weight",
            ],
        ),
        (
            lambda state: transformers_vit(state) | {"encoder.layer.1.adapter.weight": torch.ones(3)},
            ["1 in the file but not in the model:\n    encoder.layer.1.adapter.weight"],
        ),
        (
            lambda state: transformers_vit(state) | {"embeddings.distillation_token": torch.ones(1, 1, 64)},
            ["a ViT with 1 distillation tokens", "has 0", "with _distilled for"],
        ),
        (
            lambda state: transformers_vit(state) | {"embeddings.register_tokens": torch.ones(1, 4, 64)},
            ["a ViT with 4 register tokens", "has 0", "with _reg4"],
        ),
        (lambda state: renamed(state, ("norm.", "fc_norm.")), ["does not fit", "norm is behind the pooling (fc_norm)"]),
        (
            lambda state: without(state, "blocks.1."),
            ["It holds 1 blocks of 64 channels, the model has 2 blocks of", "or the timm name of the model"],
        ),
        (
            lambda state: {"layer1.0.conv1.weight": torch.ones(3), "conv1.weight": torch.ones(3)},
            ["in no layout of ViT weights that is known here (its keys: layer1.0.conv1.weight", "transformers: CLIP"],
        ),
        (
            lambda state: transformers_vit({key: tensor.to(torch.int8) for key, tensor in state.items()}),
            ["as int8", "float32, float16 or bfloat16"],
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_taken_is_named_with_the_way_out(theirs, parts, small_vit, tmp_path):
    torch.save(theirs(small_vit(PLAIN).state_dict()), tmp_path / "theirs.pth")
    vit = build_vit(PLAIN, **SMALL)
    before = {key: tensor.clone() for key, tensor in vit.state_dict().items()}
    with pytest.raises(WeightsError) as caught:
        load_weights(TimmReader(vit), tmp_path / "theirs.pth")
    for part in ["theirs.pth", *parts]:
        assert part in str(caught.value)
    assert all(torch.equal(tensor, before[key]) for key, tensor in vit.state_dict().items())


def test_a_file_without_the_register_tokens_of_the_model(small_vit):
    state = transformers_dinov2(small_vit(DINOV2).state_dict())
    with pytest.raises(WeightsError, match=r"with 0 register tokens, vit_small_patch14_reg4_dinov2.lvd142m has 4"):
        load_weights(TimmReader(build_vit(REGISTERS, **SMALL)), state)


def test_biases_that_timm_would_leave_out_are_refused(small_vit):
    state = transformers_dinov3(small_vit(DINOV3).state_dict())
    with pytest.raises(WeightsError, match=r"has biases in its attention .* with _qkvb"):
        load_weights(TimmReader(build_vit("vit_small_patch16_dinov3", **SMALL)), state)
    load_weights(TimmReader(build_vit("vit_small_patch16_dinov3", **SMALL)), {
        key: torch.zeros_like(tensor) if key.endswith(("q_proj.bias", "v_proj.bias")) else tensor
        for key, tensor in state.items()
    })  # fmt: skip


def test_files_of_the_hub_make_no_line_for_their_classifier(caplog):
    with caplog.at_level(logging.WARNING):
        load_weights(TimmReader(build_vit("vit_micro_patch16_224")), None)
    assert not caplog.records
