"""Backbone: what goes in, what comes out, and that it equals timm's own arithmetic."""

import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_vits import SMALL
from torch.nn import functional

from dvt.backbone.catalogue import CATALOGUE
from dvt.backbone.sources.timm_build import build_vit
from dvt.backbone.sources.timm_reader import TimmReader
from dvt.errors import BackboneError, GeometryError
from dvt.grid import PatchGrid

PREFIX_TOKENS = {
    "dino": 1, "deit3": 1, "eva02": 1, "clip": 1, "dinov2": 1, "dinov2_reg": 5, "mae": 1, "augreg": 1, "dinov3": 5,
    "siglip2": 0, "vit_micro": 1,
}  # fmt: skip
CLIP = ([0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711])
IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
HALVES = ([0.5] * 3, [0.5] * 3)
STATISTICS = {"eva02": CLIP, "clip": CLIP, "augreg": HALVES, "siglip2": HALVES, "vit_micro": HALVES}


def family(name):
    return next(key for key in sorted(PREFIX_TOKENS, key=len, reverse=True) if name.startswith(key))


def timm_twin(backbone):
    """timm's model of the same weights, untouched by us."""
    twin = timm.create_model(backbone.full_name, dynamic_img_size=True, **SMALL)
    missing, unexpected = twin.load_state_dict(backbone.vit.state_dict(), strict=False)
    assert not unexpected
    assert all(key.startswith(("head", "attn_pool", "fc_norm")) for key in missing)
    return twin.eval()


def normalised(images, name):
    mean, std = STATISTICS.get(family(name), IMAGENET) if name != "clip_large" else HALVES
    return (images - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)


@pytest.mark.parametrize("row", CATALOGUE.values(), ids=lambda row: row.name)
def test_every_row_equals_timm(row, small_backbone, images):
    backbone = small_backbone(row.timm)
    patch = backbone.grid.patch
    pictures = images(2, 3 * patch, 5 * patch)
    features = backbone(pictures)

    assert backbone.full_name == row.timm
    assert backbone.num_prefix_tokens == PREFIX_TOKENS[family(row.name)]
    assert features.grid == PatchGrid.of((3 * patch, 5 * patch), patch)
    assert features.patches.shape == (2, 3, 5, 64)
    assert features.prefix.shape == (2, backbone.num_prefix_tokens, 64)

    with torch.no_grad():
        expected = timm_twin(backbone).forward_intermediates(
            normalised(pictures, row.name), indices=[1], norm=True, intermediates_only=True
        )[0]
    torch.testing.assert_close(features.patches, expected.permute(0, 2, 3, 1), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "timm_name", ["vit_tiny_patch16_224", "vit_small_patch14_reg4_dinov2", "vit_small_patch16_dinov3"]
)
def test_prefix_tokens_are_timms(timm_name, small_backbone, images):
    backbone = small_backbone(timm_name)
    pictures = images(2, *backbone.grid.image_hw)
    with torch.no_grad():
        all_tokens = timm_twin(backbone).forward_features((pictures - backbone.mean) / backbone.std)
    got = backbone(pictures)
    tokens = torch.cat([got.prefix, got.patches.flatten(1, 2)], dim=1)
    torch.testing.assert_close(tokens, all_tokens, atol=2e-5, rtol=1e-4)


def test_an_eva_without_prefix_tokens(small_backbone, images):
    features = small_backbone("vit_small_patch16_dinov3", class_token=False, num_reg_tokens=0)(images(2, 48, 80))
    assert features.prefix.shape == (2, 0, 64)
    assert features.patches.shape == (2, 3, 5, 64)


@pytest.mark.parametrize("timm_name", ["vit_tiny_patch16_224", "eva02_base_patch16_clip_224"])
def test_layers_before_and_after_the_norm(timm_name, small_backbone, images):
    pictures = images(1, 48, 80)
    vit = small_backbone(timm_name).vit
    normed = [small_backbone(timm_name, layer=layer)(pictures).patches for layer in (0, 1, -1, -2)]
    plain = [small_backbone(timm_name, layer=layer, norm=False)(pictures).patches for layer in (0, 1)]
    assert torch.equal(normed[1], normed[2])
    assert torch.equal(normed[0], normed[3])
    for index in (0, 1):
        torch.testing.assert_close(vit.norm(plain[index]), normed[index], atol=1e-5, rtol=1e-5)
    assert (plain[0] - plain[1]).abs().max() > 0.1
    assert (plain[1] - normed[1]).abs().max() > 0.1


def test_several_layers_from_one_forward_pass(small_backbone, images):
    """Every block without the final norm, the backbone's own features last."""
    pictures = images(2, 48, 80)
    backbone = small_backbone()
    first, second, own = backbone.forward_layers(pictures, [0, 1])
    for index, features in ((0, first), (1, second)):
        expected = small_backbone(layer=index, norm=False)(pictures)
        assert torch.equal(features.patches, expected.patches) and torch.equal(features.prefix, expected.prefix)
    assert torch.equal(own.patches, backbone(pictures).patches) and own.grid == first.grid


def test_gradients_reach_what_is_trained_and_only_by_forward_layers(small_backbone, images):
    backbone = small_backbone()
    backbone.vit.requires_grad_(True)
    assert backbone.forward_layers(images(1, 48, 80))[0].patches.requires_grad
    assert not backbone(images(1, 48, 80)).patches.requires_grad


def test_the_layer_is_counted_from_the_first(small_backbone):
    assert [small_backbone(layer=layer).layer for layer in (0, 1, -1, -2)] == [0, 1, 1, 0]


@pytest.mark.parametrize("layer", [2, -3, 100])
def test_a_layer_that_does_not_exist(layer, small_backbone):
    with pytest.raises(BackboneError, match=f"layer {layer} does not exist: .* has 2 blocks. Give 0 to 1, or -2 to -1"):
        small_backbone(layer=layer)


def test_no_final_norm(small_backbone, images):
    with pytest.raises(BackboneError, match=r"has no final norm on its tokens.*Set norm=False"):
        small_backbone("eva02_small_patch14_224.mim_in22k")
    assert small_backbone("eva02_small_patch14_224.mim_in22k", norm=False)(images(1, 28, 28)).patches.isfinite().all()


@pytest.mark.parametrize(
    "timm_name", ["resnet18", "swin_tiny_patch4_window7_224", "vit_tiny_r_s16_p8_224", "beit_base_patch16_224"]
)
def test_what_is_no_plain_vit(timm_name):
    with pytest.raises(BackboneError, match=f"{timm_name} cannot be used: .*Expected a plain ViT of timm"):
        build_vit(timm_name)


def test_it_is_frozen(small_backbone, images):
    backbone = small_backbone()
    pictures = images(1, 48, 80).requires_grad_()
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    backbone.train()
    assert not any(module.training for module in backbone.modules())
    features = backbone(pictures)
    assert not features.patches.requires_grad
    assert not features.patches.is_inference()  # later stages train on them


def test_only_tokens_are_left_of_the_vit(small_vit):
    for timm_name in (
        "vit_base_patch16_siglip_512.v2_webli",
        "eva02_small_patch14_224",
        "deit_tiny_distilled_patch16_224",
    ):
        keys = small_vit(timm_name).state_dict()
        assert not [key for key in keys if key.startswith(("head", "attn_pool", "fc_norm"))]


@settings(max_examples=15, deadline=None)
@given(rows=st.integers(1, 5), columns=st.integers(1, 5), count=st.integers(1, 3))
def test_any_size_and_aspect(small_vit_once, rows, columns, count):
    features = small_vit_once(torch.rand(count, 3, rows * 16, columns * 16))
    assert features.patches.shape == (count, rows, columns, 64)
    assert features.grid.hw == (rows, columns)


@pytest.fixture(scope="module")
def small_vit_once():
    from dvt.backbone.backbone import Backbone, Readout
    from dvt.runtime import Precision

    vit = build_vit("vit_tiny_patch16_224", **SMALL)
    readout = Readout.of(TimmReader(vit).facts, (32, 32), None, -1, True)
    return Backbone(TimmReader(vit), readout, name="small", weights_hash="0", precision=Precision.fp32)


def test_patches_lie_where_the_image_has_them(small_backbone, images):
    """A change in one patch of the image changes that token more than any other."""
    backbone = small_backbone(image_hw=(48, 80))
    before = images(1, 48, 80)
    after = before.clone()
    after[:, :, 32:48, 16:32] = 1 - after[:, :, 32:48, 16:32]
    change = (backbone(after).patches - backbone(before).patches).norm(dim=-1)[0]
    assert divmod(int(change.argmax()), 5) == (2, 1)


@pytest.mark.parametrize(
    ("precision", "dtype", "error"), [("bf16", torch.bfloat16, 0.06), ("fp16", torch.float16, 0.01)]
)
@pytest.mark.parametrize(
    "timm_name", ["vit_tiny_patch16_224", "vit_small_patch16_dinov3", "eva02_base_patch16_clip_224"]
)
def test_half_precision(timm_name, precision, dtype, error, small_backbone, images):
    exact = small_backbone(timm_name)(images(2, 48, 80))
    half = small_backbone(timm_name, precision=precision)(images(2, 48, 80))
    assert half.patches.dtype == half.prefix.dtype == dtype
    assert exact.patches.dtype == torch.float32
    assert (half.patches.float() - exact.patches).abs().mean() < error * exact.patches.abs().mean()


@pytest.mark.parametrize(
    "pictures",
    [
        torch.rand(3, 48, 80),
        torch.rand(1, 4, 48, 80),
        torch.zeros(1, 3, 48, 80, dtype=torch.uint8),
        torch.rand(1, 1, 48, 80),
    ],
)
@pytest.mark.other_types
def test_what_is_no_batch_of_pictures(pictures, small_backbone):
    with pytest.raises(BackboneError, match=r"expected images of shape \(B, 3, height, width\).*got \("):
        small_backbone()(pictures)


def test_a_size_that_does_not_fit(small_backbone, images):
    with pytest.raises(GeometryError, match="width 81 does not divide"):
        small_backbone()(images(1, 48, 81))


def test_preprocess_squashes_to_the_grid(small_backbone, images):
    backbone = small_backbone(image_hw=(48, 80))
    picture = images(1, 100, 90)[0]
    got = backbone.preprocess(picture)
    assert got.shape == (3, 48, 80)
    expected = functional.interpolate(picture[None].double(), size=(48, 80), mode="bicubic", antialias=True)[0]
    torch.testing.assert_close(got, expected.clamp(0, 1).float(), atol=1e-5, rtol=0)
    flat = backbone.preprocess(torch.full((3, 7, 300), 0.25))
    torch.testing.assert_close(flat, torch.full((3, 48, 80), 0.25))


def test_preprocess_stays_in_range(small_backbone):
    """Bicubic interpolation overshoots at edges."""
    edge = torch.zeros(3, 10, 10)
    edge[:, 5:] = 1
    got = small_backbone(image_hw=(48, 80)).preprocess(edge)
    assert got.aminmax() == (0, 1)


def test_preprocess_leaves_the_right_size_alone(small_backbone, images):
    picture = images(1, 48, 80)[0]
    assert torch.equal(small_backbone(image_hw=(48, 80)).preprocess(picture), picture)


CONVERSIONS = {
    "half": ("fp16", lambda model: model.half()),
    "bfloat16": ("bf16", lambda model: model.bfloat16()),
    "to dtype": ("fp16", lambda model: model.to(torch.float16)),
    "to device and dtype": ("bf16", lambda model: model.to("cpu", torch.bfloat16)),
    "there and back by double": ("fp32", lambda model: model.double().float()),
}


@pytest.mark.parametrize("conversion", CONVERSIONS)
@pytest.mark.parametrize("timm_name", ["vit_tiny_patch16_224", "vit_small_patch16_dinov3"])
def test_a_converted_model_is_one_that_was_loaded_so(conversion, timm_name, small_backbone, images):
    precision, convert = CONVERSIONS[conversion]
    batch, loaded = images(2, 48, 80), small_backbone(timm_name, precision=precision)
    converted = convert(small_backbone(timm_name))
    assert converted.precision.value == precision and converted.mean.dtype == torch.float32
    wanted, found = loaded(batch), converted(batch)
    assert found.patches.dtype == wanted.patches.dtype and torch.equal(found.patches, wanted.patches)
    assert converted(batch.half()).patches.dtype == wanted.patches.dtype


def test_double_precision(small_backbone, images):
    batch, backbone = images(2, 48, 80), small_backbone()
    single = backbone(batch).patches
    double = backbone.double()(batch).patches
    assert double.dtype == torch.float64 and 0 < (double - single).abs().max() < 1e-4
