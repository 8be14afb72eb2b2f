"""Several blocks at once: each is what it is alone, from one forward pass, through every stage."""

import pytest
import torch
from noise import write_noise

import dvt
from dvt.backbone.features import num_layers_of
from dvt.decomposition.quality import load_quality
from dvt.denoiser.config import DenoiserConfig, Kind, PairsConfig, Raw, TrainConfig
from dvt.denoiser.network import Denoiser
from dvt.errors import BackboneError, ConfigError, WeightsError
from dvt.export.fixed_size import fixed_size
from dvt.spec import FeatureSpec
from dvt.training.config import LoggerConfig, LoggerKind, TrainerConfig
from dvt.weights.convert import to_original

LAYERS = (1, 3, 5)


def micro(layer, **options):
    return dvt.load_backbone("vit_micro", layer=layer, image_size=64, device="cpu", **options)


def parts(tensor):
    return tensor.chunk(len(LAYERS), dim=-1)


@pytest.mark.parametrize("norm", [True, False])
def test_the_channels_are_those_of_each_block_side_by_side(norm, images):
    together, x = micro(list(LAYERS), norm=norm), images(2, 64, 96)
    assert (together.layers, together.layer, together.num_channels) == (LAYERS, 5, 3 * 192)
    assert micro([-5, -3, -1]).layers == LAYERS and num_layers_of(together) == 3
    passes = []
    handle = together.vit.blocks[0].register_forward_hook(lambda *_: passes.append(1))
    features = together(x)
    handle.remove()
    assert len(passes) == 1
    for index, layer in enumerate(LAYERS):
        alone = micro(layer, norm=norm)(x)
        assert torch.equal(parts(features.patches)[index], alone.patches)
        assert torch.equal(parts(features.prefix)[index], alone.prefix)
    earlier, own = together.forward_layers(x, [2])
    assert torch.equal(own.patches, features.patches) and earlier.patches.shape[-1] == 192


def test_the_spec_tells_one_block_from_several():
    one, several = micro(5).spec, micro(list(LAYERS)).spec
    assert "earlier_layers" not in one.to_json() and several.to_json()["earlier_layers"] == [1, 3]
    assert FeatureSpec.from_json(several.to_json()) == several and several.layers == LAYERS
    assert any("earlier_layers" in line for line in several.differences(one))


@pytest.mark.parametrize("layer", [[3, 1], [3, 3], [-1, 0]])
def test_blocks_that_are_out_of_order(layer):
    with pytest.raises(BackboneError, match="blocks in ascending order, each once"):
        micro(layer)
    with pytest.raises(BackboneError, match="layer 9 does not exist"):
        micro([1, 9])


@pytest.mark.parametrize("options", [{"fine": 2}, {"solver": "gradient", "num_steps": 20}])
def test_stage_1_of_several_blocks_is_that_of_each(options):
    image = torch.rand(3, 80, 100, generator=torch.Generator().manual_seed(0))
    together = dvt.decompose(image, micro(list(LAYERS)), quality="tiny", num_views=6, **options)
    torch.testing.assert_close(together.clean + together.artifact + together.residual, together.raw)
    where = torch.rand(5, 2, generator=torch.Generator().manual_seed(1))
    for index, layer in enumerate(LAYERS):
        alone = dvt.decompose(image, micro(layer), quality="tiny", num_views=6, **options)
        for name in ("clean", "artifact", "fine"):
            assert torch.equal(parts(getattr(together, name))[index], getattr(alone, name))
        torch.testing.assert_close(parts(together.field.read(where))[index], alone.field.read(where))


def test_groups_of_channels_do_not_see_each_other():
    torch.manual_seed(0)
    denoiser = Denoiser(DenoiserConfig(groups=3, head_channels=32), 3 * 64, (4, 4)).eval()
    patches = torch.rand(1, 4, 6, 3 * 64)
    clean, changed = denoiser(patches), patches.clone()
    changed[..., :64] += 1
    before, after = parts(clean), parts(denoiser(changed))
    assert not torch.allclose(before[0], after[0])
    assert torch.equal(before[1], after[1]) and torch.equal(before[2], after[2])
    joint = Denoiser(DenoiserConfig(head_channels=32), 3 * 64, (4, 4)).eval()
    assert not torch.allclose(parts(joint(patches))[1], parts(joint(changed))[1])
    assert clean.shape == patches.shape
    maps = Denoiser(DenoiserConfig(groups=3, kind=Kind.conv3x3), 3 * 64, (4, 4))
    assert maps(patches).shape == patches.shape
    with pytest.raises(WeightsError, match="of several groups of channels, and the original's format has no place"):
        to_original(denoiser, denoiser.state_dict())
    for options in ({"groups": 5}, {"groups": 3, "kind": Kind.linear}, {"groups": 0}):
        with pytest.raises(ConfigError, match=r"denoiser.groups="):
            Denoiser(DenoiserConfig(**options), 3 * 64, (4, 4))


@pytest.mark.parametrize("groups", [1, 3])
def test_a_denoiser_of_several_blocks_trains_loads_and_is_exported(groups, tmp_path, images):

    backbone = micro(list(LAYERS))
    for number in range(4):
        write_noise(tmp_path / "photos" / f"{number}.png", (70, 90), number)
    files, few = dvt.find_images(tmp_path / "photos"), load_quality("tiny", {"num_views": 3})
    dvt.decompose_list(files, backbone, tmp_path / "store", few)
    config = TrainConfig(
        denoiser=DenoiserConfig(groups=groups),
        pairs=PairsConfig(raw=Raw.stored),
        trainer=TrainerConfig(accelerator="cpu"),
        logger=LoggerConfig(kind=LoggerKind.none),
        num_steps=2,
        batch_size=2,
        show_every=0,
        validate_every=2,
        save_every=2,
    )
    dvt.train_denoiser(tmp_path / "store", tmp_path / "run", config)
    denoised, _ = dvt.load_denoised(weights=tmp_path / "run", device="cpu")
    assert denoised.layers == LAYERS and denoised.spec.channels == 3 * 192
    x = images(1, 64, 64)
    layers = denoised.forward_layers(x)
    assert [each.patches.shape for each in layers] == [(1, 4, 4, 192)] * 3
    assert torch.equal(torch.cat([each.patches for each in layers], dim=-1), denoised(x).patches)
    patches, prefix = fixed_size(denoised)(x)
    torch.testing.assert_close(patches, denoised(x).patches, rtol=1e-4, atol=1e-4)
    assert prefix.shape == (1, 1, 3 * 192)
    with pytest.raises(WeightsError, match="earlier_layers"):
        dvt.DenoisedBackbone(micro(5), dvt.load_denoiser(tmp_path / "run"))


def test_blocks_before_the_layer_and_several_layers_exclude_each_other():
    with pytest.raises(ConfigError, match=r"denoiser.layers=\[0\] with backbone.layer=\[1, 3, 5\]"):
        DenoiserConfig(layers=[0]).for_layers(LAYERS)
