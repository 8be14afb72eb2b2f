"""DenoisedBackbone: the interface of a Backbone, clean patches."""

import pytest
import torch

from dvt.backbone.features import FeatureExtractor
from dvt.backbone.load import load_backbone
from dvt.decomposition.run import decompose
from dvt.denoiser.config import DenoiserConfig
from dvt.denoiser.denoised import DenoisedBackbone, denoiser_input
from dvt.denoiser.network import Denoiser
from dvt.errors import WeightsError
from dvt.weights.build import load_denoised


@pytest.fixture(scope="module")
def denoised(backbone):
    torch.manual_seed(0)
    return DenoisedBackbone(backbone, Denoiser(DenoiserConfig(), 192, (4, 4)))


@pytest.mark.parametrize("size", [(64, 64), (48, 96)])
def test_patches_are_denoised_and_the_class_token_is_not(denoised, size):
    images = torch.rand(2, 3, *size)
    raw, clean = denoised.backbone(images), denoised(images)
    assert isinstance(denoised, FeatureExtractor)
    assert clean.grid == raw.grid and clean.patches.shape == raw.patches.shape
    assert torch.equal(clean.prefix, raw.prefix)
    with torch.no_grad():
        assert torch.equal(clean.patches, denoised.denoiser(raw.patches))
    assert not torch.allclose(clean.patches, raw.patches, atol=0.1)


def test_register_tokens_pass_through():
    vit = load_backbone("vit_small_patch14_reg4_dinov2", weights="random", image_size=56, device="cpu")
    denoised = DenoisedBackbone(vit, Denoiser(DenoiserConfig(), 384, (4, 4)))
    images = torch.rand(1, 3, 56, 56)
    assert denoised(images).prefix.shape == (1, 5, 384)
    assert torch.equal(denoised(images).prefix, vit(images).prefix)


def test_it_is_a_backbone_in_every_respect(denoised, backbone):
    for name in ("grid", "layer", "norm", "num_channels", "num_prefix_tokens", "precision", "device"):
        assert getattr(denoised, name) == getattr(backbone, name)
    assert denoised.full_name != backbone.full_name and denoised.weights_hash != backbone.weights_hash
    image = torch.rand(3, 40, 50)
    assert torch.equal(denoised.preprocess(image), backbone.preprocess(image))
    assert denoised.grid_for((32, 48)).hw == (2, 3)


def test_earlier_blocks_come_from_the_same_pass(backbone):
    """What the denoiser is given are the outputs of the blocks, as hooks on the ViT see them."""
    seen = {}
    hooks = [
        backbone.vit.blocks[layer].register_forward_hook(
            lambda block, args, out, layer=layer: seen.update({layer: out})
        )
        for layer in (2, 5, 11)
    ]
    patches, prefix, grid = denoiser_input(backbone, torch.rand(2, 3, 64, 48), [2, 5])
    for hook in hooks:
        hook.remove()
    wanted = [backbone.vit.norm(seen[11]), seen[2], seen[5]]
    joined = torch.cat([tokens[:, 1:] for tokens in wanted], dim=-1).unflatten(1, (4, 3))
    assert grid.hw == (4, 3) and torch.allclose(patches, joined, atol=1e-6)
    assert torch.allclose(prefix, wanted[0][:, :1], atol=1e-6)


def test_a_denoiser_with_earlier_blocks_is_used_like_any_other(backbone):
    denoiser = Denoiser(DenoiserConfig(layers=[2, 5]), 192, (4, 4))
    torch.nn.init.normal_(denoiser.mixing.linear.weight)
    denoised = DenoisedBackbone(backbone, denoiser)
    images = torch.rand(1, 3, 48, 96)
    assert denoised(images).patches.shape == (1, 3, 6, 192)
    shallow = load_backbone("vit_tiny_patch16_224", weights="random", image_size=64, device="cpu", layer=4)
    with pytest.raises(WeightsError, match=r"reads the blocks \[2, 5\]"):
        DenoisedBackbone(shallow, denoiser)


def test_it_can_itself_be_decomposed(denoised):
    result = decompose(torch.rand(3, 70, 90), denoised, quality="tiny", num_views=3)
    assert result.clean.shape == (4, 4, 192)


def test_it_is_frozen_and_stays_so(denoised):
    assert not any(one.requires_grad for one in denoised.parameters())
    assert not denoised.train().training
    assert not denoised(torch.rand(1, 3, 64, 64)).patches.requires_grad


def test_half_precision_holds_for_both():
    vit = load_backbone("vit_tiny_patch16_224", weights="random", image_size=64, device="cpu", precision="bf16")
    denoised = DenoisedBackbone(vit, Denoiser(DenoiserConfig(), 192, (4, 4)))
    assert denoised(torch.rand(1, 3, 64, 64)).patches.dtype is torch.bfloat16


def test_a_denoiser_of_another_vit_is_refused(backbone):
    with pytest.raises(WeightsError, match=r"made for 384 channels, vit_tiny_patch16_224\S* has 192"):
        DenoisedBackbone(backbone, Denoiser(DenoiserConfig(), 384, (4, 4)))


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_converted_it_is_as_loaded_so(precision):
    loaded, _ = load_denoised(weights="vit_micro/denoiser", device="cpu", precision=precision)
    converted, _ = load_denoised(weights="vit_micro/denoiser", device="cpu")
    converted = converted.to(loaded.precision.dtype)
    batch = torch.rand(1, 3, 64, 64)
    assert converted.precision == loaded.precision
    assert torch.equal(converted(batch).patches, loaded(batch).patches)
