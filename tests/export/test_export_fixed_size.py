"""FixedSize computes what the backbone computes at that size, and its tensors have the names that timm knows."""

import pytest
import timm
import torch

from dvt.backbone.weights import state_hash
from dvt.errors import ConfigError, GeometryError
from dvt.export.fixed_size import fixed_size

PLAIN = [
    "vit_tiny_patch16_224",
    "vit_small_patch14_dinov2",
    "vit_small_patch14_reg4_dinov2",
    "deit3_small_patch16_224",  # its class token has no place in the position embedding
    "deit_tiny_distilled_patch16_224",  # two prefix tokens
    "vit_base_patch16_siglip_512",  # none
    "eva02_base_patch16_clip_224",  # rotary and absolute positions
    "vit_small_patch16_dinov3",
]
"""Families that stay themselves at another stride, or whose patches are odd."""

FIXED_STRIDE = ["vit_small_patch16_rope_224", "vit_small_patch16_rope_mixed_224", "vit_small_patch16_rope_ape_224"]
"""Families whose rotary positions count patches; in mixed ones they are learned, for every block."""


def assert_the_same(fixed, backbone, pictures):
    patches, prefix = fixed(pictures)
    expected = backbone(pictures)
    torch.testing.assert_close(patches, expected.patches, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(prefix, expected.prefix, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("denoised", [False, True], ids=["raw", "denoised"])
@pytest.mark.parametrize("timm_name", PLAIN + FIXED_STRIDE)
def test_every_family_equals_its_backbone(timm_name, denoised, model, images):
    backbone = model(timm_name, denoised=denoised)
    fixed = fixed_size(backbone)
    assert fixed.grid == backbone.grid
    assert fixed.num_prefix_tokens == backbone.num_prefix_tokens
    assert_the_same(fixed, backbone, images(2, *backbone.grid.image_hw))


@pytest.mark.parametrize("timm_name", PLAIN)
def test_another_size_and_aspect(timm_name, model, images):
    backbone = model(timm_name)
    patch = backbone.grid.patch
    hw = (4 * patch, 6 * patch)
    fixed = fixed_size(backbone, hw)
    assert fixed.grid.hw == (4, 6)
    assert_the_same(fixed, backbone, images(1, *hw))


@pytest.mark.parametrize("timm_name", ["vit_tiny_patch16_224", "vit_small_patch16_dinov3"])
def test_the_dense_stride(timm_name, model, images):
    backbone = model(timm_name, image_hw=(64, 96), stride=8)
    assert_the_same(fixed_size(backbone), backbone, images(2, 64, 96))
    assert_the_same(fixed_size(backbone, (40, 56)), backbone, images(1, 40, 56))


@pytest.mark.parametrize("timm_name", ["vit_tiny_patch16_224", "vit_small_patch16_rope_mixed_224"])
@pytest.mark.parametrize(("layer", "norm"), [(0, True), (0, False), (1, False)])
def test_layers_and_norms(timm_name, layer, norm, model, images):
    backbone = model(timm_name, layer=layer, norm=norm)
    fixed = fixed_size(backbone)
    assert_the_same(fixed, backbone, images(1, 48, 80))
    keys = list(fixed.state_dict())
    assert any(key.startswith("vit.blocks.1.") for key in keys) == (layer == 1)
    assert ("vit.norm.weight" in keys) == norm


@pytest.mark.parametrize("kind", ["conv1x1", "conv3x3", "semantic_tokens"])
def test_other_denoisers(kind, model, images):
    backbone = model(kind=kind)
    assert_the_same(fixed_size(backbone), backbone, images(1, 48, 80))


@pytest.mark.parametrize("timm_name", ["vit_tiny_patch16_224", "vit_small_patch16_dinov3"])
@pytest.mark.parametrize("mixing", ["residual", "linear"])
def test_denoisers_that_read_earlier_blocks(timm_name, mixing, model, images):
    backbone = model(timm_name, layers=[0], mixing=mixing)
    assert_the_same(fixed_size(backbone), backbone, images(2, 48, 80))


@pytest.mark.parametrize("timm_name", PLAIN + FIXED_STRIDE)
def test_its_tensors_load_into_plain_timm(timm_name, model, narrow, images):
    """Somebody without dvt: timm at that image size, the tensors behind `vit.`, mean and std."""
    backbone = model(timm_name, denoised=False)
    state = fixed_size(backbone).state_dict()
    twin = timm.create_model(timm_name, img_size=backbone.grid.image_hw, num_classes=0, **narrow).eval()
    of_vit = {key.removeprefix("vit."): tensor for key, tensor in state.items() if key.startswith("vit.")}
    missing, unexpected = twin.load_state_dict(of_vit, strict=False)
    assert not unexpected
    assert all(key.startswith(("attn_pool", "fc_norm")) for key in missing)
    pictures = images(1, *backbone.grid.image_hw)
    with torch.no_grad():
        tokens = twin.forward_features((pictures - state["mean"]) / state["std"])
    expected = backbone(pictures)
    expected = torch.cat([expected.prefix, expected.patches.flatten(1, 2)], dim=1)
    torch.testing.assert_close(tokens, expected, atol=2e-5, rtol=1e-4)


def test_the_backbone_is_left_as_it_is(model, images):
    backbone = model()
    before, elsewhere = state_hash(backbone), images(1, 64, 64)
    expected = backbone(elsewhere).patches
    fixed = fixed_size(backbone, (64, 96))
    with torch.no_grad():
        for parameter in fixed.parameters():
            parameter.zero_()
    assert state_hash(backbone) == before
    assert torch.equal(backbone(elsewhere).patches, expected)


def test_it_is_frozen(model, images):
    fixed = fixed_size(model())
    assert not any(parameter.requires_grad for parameter in fixed.parameters())
    assert not any(module.training for module in fixed.modules())
    assert not fixed(images(1, 48, 80))[0].requires_grad


def test_images_of_another_size_are_refused(model, images):
    with pytest.raises(GeometryError, match=r"\(B, 3, 48, 80\), got \(1, 3, 64, 64\).*made for one size"):
        fixed_size(model())(images(1, 64, 64))


def test_a_size_that_does_not_fit(model):
    with pytest.raises(GeometryError, match="width 81 does not divide"):
        fixed_size(model(), (48, 81))


def test_half_precision_is_refused(model):
    with pytest.raises(ConfigError, match="precision=bf16; what is exported computes in float32"):
        fixed_size(model(precision="bf16"))
