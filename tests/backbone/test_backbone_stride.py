"""The dense stride against explicit loops, and against timm where the stride is the patch."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.layers import LayerNorm
from timm.layers.patch_embed import PatchEmbed

from dvt.backbone.sources.timm_stride import DensePatchEmbed, set_stride
from dvt.errors import BackboneError, GeometryError


def embed(patch=16, **options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        chosen = {"output_fmt": "NHWC", **options}
        return PatchEmbed(img_size=4 * patch, patch_size=patch, embed_dim=8, strict_img_size=False, **chosen)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"output_fmt": None},
        {"output_fmt": "NCHW"},
        {"output_fmt": "NLC"},
        {"norm_layer": LayerNorm},
        {"bias": False},
    ],
    ids=["NHWC", "flat", "NCHW", "NLC", "norm", "no bias"],
)
@pytest.mark.parametrize("patch", [8, 14, 16])
def test_stride_of_a_patch_is_timm_itself(patch, options, images):
    native = embed(patch, **options)
    pictures = images(2, 3 * patch, 5 * patch)
    assert torch.equal(DensePatchEmbed(native, patch)(pictures), native(pictures))


@pytest.mark.parametrize(("patch", "stride"), [(16, 8), (16, 4), (14, 7), (14, 2), (8, 4), (16, 1)])
def test_equals_native_patches_of_shifted_images(patch, stride, images):
    """Every shift of the image by a multiple of the stride gives one comb of the dense grid."""
    native = embed(patch)
    pictures = images(2, 3 * patch, 4 * patch)
    dense = DensePatchEmbed(native, stride)(pictures)
    combs = patch // stride
    for down in range(combs):
        for right in range(combs):
            shifted = pictures[:, :, down * stride :, right * stride :]
            rows, columns = shifted.shape[2] // patch, shifted.shape[3] // patch
            expected = native(shifted[:, :, : rows * patch, : columns * patch])
            torch.testing.assert_close(dense[:, down::combs, right::combs], expected, atol=1e-5, rtol=1e-5)


@settings(max_examples=20, deadline=None)
@given(patch=st.integers(2, 9), stride=st.integers(1, 9), rows=st.integers(1, 4), columns=st.integers(1, 4))
def test_equals_a_loop_over_patches(patch, stride, rows, columns):
    """Any stride, also one that does not divide the patch, and sizes that are no multiple of the patch."""
    stride = min(stride, patch)
    native = embed(patch)
    pictures = torch.rand(1, 3, patch + (rows - 1) * stride, patch + (columns - 1) * stride)
    dense = DensePatchEmbed(native, stride)(pictures)
    assert dense.shape == (1, rows, columns, 8)
    for row in range(rows):
        for column in range(columns):
            top, left = row * stride, column * stride
            patch_alone = pictures[:, :, top : top + patch, left : left + patch]
            torch.testing.assert_close(dense[:, row, column], native(patch_alone)[:, 0, 0], atol=1e-5, rtol=1e-5)


def test_pixels_left_over_are_refused(images):
    with pytest.raises(GeometryError, match="width 67 does not divide"):
        DensePatchEmbed(embed(), 8)(images(1, 64, 67))


def test_it_offers_what_timms_models_read():
    native = embed(14)
    dense = DensePatchEmbed(native, 7)
    assert dense.dynamic_feat_size((56, 63)) == (7, 8)
    assert (dense.feat_ratio(), dense.feat_ratio(as_scalar=False)) == (7, (7, 7))
    for name in ("patch_size", "img_size", "grid_size", "num_patches", "flatten", "output_fmt", "strict_img_size"):
        assert getattr(dense, name) == getattr(native, name), name
    assert dense.proj is native.proj


DENSE = [
    "vit_tiny_patch16_224",
    "vit_base_patch16_siglip_512",
    "vit_small_patch16_dinov3",
    "eva02_base_patch16_clip_224",
]


@pytest.mark.parametrize("timm_name", DENSE)
def test_the_whole_vit_with_a_dense_stride(timm_name, small_backbone, images):
    native, dense = small_backbone(timm_name), small_backbone(timm_name, stride=8)
    assert list(native.vit.state_dict()) == list(dense.vit.state_dict())
    assert dense.grid.hw == (5, 9)
    features = dense(images(2, 40, 64))  # 40 is no multiple of the patch
    assert features.patches.shape == (2, 4, 7, 64)
    assert features.patches.isfinite().all()


@pytest.mark.parametrize("timm_name", ["vit_small_patch16_dinov3", "eva02_base_patch16_clip_224"])
def test_rotary_positions_span_the_image_whatever_the_stride(timm_name, small_vit):
    """Two dense steps to the right turn by about one native step, and one by about half."""
    rope = small_vit(timm_name).rope
    native, dense = rope.get_embed((16, 16)), rope.get_embed((31, 31))
    step = (native[1] - native[0]).norm().item()
    assert (dense[2] - dense[0]).norm().item() == pytest.approx(step, rel=0.1)
    assert (dense[1] - dense[0]).norm().item() == pytest.approx(step / 2, rel=0.15)


@pytest.mark.parametrize("timm_name", ["vit_small_patch16_rope_224", "vit_small_patch16_rope_mixed_224"])
def test_rotary_positions_that_count_patches_are_refused(timm_name, small_vit):
    vit = small_vit(timm_name)
    with pytest.raises(BackboneError, match=r"stride 8 does not work.*counts patches.*Leave the stride at 16"):
        set_stride(vit, 8)
    set_stride(vit, 16)
    assert isinstance(vit.patch_embed, PatchEmbed)
