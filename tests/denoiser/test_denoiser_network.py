"""The network of stage 2. That released weights give the same output is tested with the hub."""

import pytest
import torch

from dvt.denoiser.config import DenoiserConfig, Kind, Mixing, TrainConfig
from dvt.denoiser.network import Denoiser
from dvt.errors import ConfigError


def denoiser(channels=128, grid_hw=(4, 4), **config):
    torch.manual_seed(0)
    return Denoiser(DenoiserConfig(**config), channels, grid_hw).eval()


def test_one_block_has_the_thirteen_tensors_of_the_released_files():
    state = denoiser().state_dict()
    assert len(state) == 13
    assert state["pos_embed"].shape == (1, 16, 128)
    assert state["denoiser.attn.qkv.weight"].shape == (384, 128)
    assert state["denoiser.mlp.fc1.weight"].shape == (512, 128)


def test_parameters_at_the_papers_size():
    full = Denoiser(DenoiserConfig(), 768, (37, 37))
    assert sum(one.numel() for one in full.denoiser.parameters()) == 7_087_872
    assert full.pos_embed.numel() == 1_051_392


def test_first_weights_are_those_of_pytorch_and_not_of_timms_vits():
    block = Denoiser(DenoiserConfig(), 768, (2, 2)).denoiser
    assert float(block.attn.qkv.weight.detach().std()) == pytest.approx(0.0208, rel=0.02)
    assert float(block.mlp.fc2.weight.detach().std()) == pytest.approx(0.0104, rel=0.02)


def test_several_blocks_are_numbered_and_the_embedding_can_be_left_out():
    keys = denoiser(num_blocks=2, position_embedding=False).state_dict().keys()
    assert "denoiser.1.norm1.weight" in keys and "pos_embed" not in keys and len(keys) == 24


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("hw", [(4, 4), (3, 7)])
def test_every_kind_takes_every_grid(kind, hw):
    raw = torch.randn(2, *hw, 128)
    clean = denoiser(kind=kind)(raw)
    assert clean.shape == raw.shape and clean.isfinite().all()


def test_patches_see_each_other_in_a_block_their_neighbours_in_3x3_and_nobody_in_1x1():
    raw = torch.randn(1, 6, 6, 128)
    changed = raw.clone()
    changed[0, 0, 0] += 1
    reach = {}
    for kind in Kind:
        with torch.no_grad():
            network = denoiser(kind=kind, grid_hw=(6, 6))
            if kind is Kind.semantic_tokens:  # it starts as the identity
                network.denoiser.stages[0].projectors[0].scale.fill_(1)
            reach[kind] = ((network(raw) - network(changed)).abs().amax(dim=-1)[0] > 1e-7).sum().item()
    assert reach == {
        Kind.block: 36,
        Kind.conv1x1: 1,
        Kind.conv3x3: 16,
        Kind.semantic_tokens: 36,
        Kind.linear: 1,
        Kind.affine: 1,
        Kind.registers: 1,
    }  # three layers of 3 x 3 reach 4 x 4 from a corner


def test_without_the_embedding_moving_the_patches_moves_the_output():
    raw = torch.randn(1, 4, 4, 128)
    rolled = raw.roll(1, dims=2)
    with torch.no_grad():
        free, bound = denoiser(position_embedding=False), denoiser()
        assert torch.allclose(free(rolled), free(raw).roll(1, dims=2), atol=1e-5)
        assert not torch.allclose(bound(rolled), bound(raw).roll(1, dims=2), atol=1e-3)


def test_moving_to_another_grid_changes_nothing_but_the_cost():
    raw = torch.randn(1, 5, 8, 128)
    network = denoiser()
    with torch.no_grad():
        before = network(raw)
        network.set_grid((5, 8))
        assert network.pos_embed.shape == (1, 40, 128)
        assert torch.equal(network(raw), before)


def test_a_grid_that_is_not_square_is_resampled_as_what_it_is():
    """An embedding that rises from left to right on 2 x 6 does so on 4 x 12; taken for a square one it would not."""
    network = denoiser(grid_hw=(2, 6))
    ramp = torch.arange(6.0).repeat(2, 1)
    network.pos_embed.data = ramp.reshape(1, 12, 1).expand(1, 12, 128).clone()
    network.set_grid((4, 12))
    moved = network.pos_embed[0, :, 0].reshape(4, 12)
    assert (moved.diff(dim=1) > 0).all() and torch.allclose(moved, moved[:1].expand(4, 12), atol=1e-4)


def test_earlier_blocks_are_added_and_begin_at_nothing():
    raw, earlier = torch.randn(2, 4, 4, 128), torch.randn(2, 4, 4, 256)
    mixed = denoiser(layers=[3, 7])
    plain = denoiser()
    plain.load_state_dict({key: value for key, value in mixed.state_dict().items() if not key.startswith("mixing.")})
    with torch.no_grad():
        assert torch.equal(mixed(torch.cat((raw, earlier), dim=-1)), plain(raw))
        mixed.mixing.linear.weight.normal_()
        assert not torch.allclose(mixed(torch.cat((raw, earlier), dim=-1)), plain(raw), atol=0.1)


def test_the_linear_mixing_sees_the_output_as_it_is_and_earlier_blocks_normed():
    raw, earlier = torch.randn(2, 4, 4, 128), torch.randn(2, 4, 4, 256)
    mixed, plain = denoiser(layers=[3, 7], mixing=Mixing.linear), denoiser()
    plain.load_state_dict({key: value for key, value in mixed.state_dict().items() if not key.startswith("mixing.")})
    normed = [torch.nn.functional.layer_norm(each, (128,), eps=1e-6) for each in earlier.chunk(2, dim=-1)]
    with torch.no_grad():
        wanted = plain(mixed.mixing.linear(torch.cat([raw, *normed], dim=-1)))
        assert torch.equal(mixed(torch.cat((raw, earlier), dim=-1)), wanted)
        assert torch.allclose(mixed(torch.cat((raw, 5 * earlier), dim=-1)), wanted, atol=1e-4)
        assert not torch.allclose(mixed(torch.cat((5 * raw, earlier), dim=-1)), wanted, atol=0.1)


def test_all_blocks_are_those_before_the_features():
    assert DenoiserConfig(layers="all").for_layers((3,)).layers == [0, 1, 2]
    assert DenoiserConfig(layers=[1]).for_layers((3,)).layers == [1]
    with pytest.raises(ConfigError, match=r"denoiser.layers=\[1, 3\]: give blocks before block 3"):
        DenoiserConfig(layers=[1, 3]).for_layers((3,))
    with pytest.raises(ConfigError, match="layers=all: give the list"):
        denoiser(layers="all")


@pytest.mark.parametrize("layers", [[3, 2], [2, 2], [-1], [1.0], [True], "every", 3])
def test_blocks_have_an_order(layers):
    with pytest.raises(ConfigError, match="give blocks counted from 0, ascending, each once"):
        DenoiserConfig(layers=layers)


def test_channels_that_do_not_make_heads_are_refused():
    with pytest.raises(ConfigError, match=r"denoiser.head_channels=64 does not divide the 100 channels"):
        denoiser(channels=100)
    with pytest.raises(ConfigError, match=r"denoiser.num_blocks=0: give at least 1"):
        DenoiserConfig(num_blocks=0)


@pytest.mark.parametrize("kind", [Kind.conv1x1, Kind.linear])
@pytest.mark.parametrize(
    "option", [{"num_blocks": 2}, {"position_embedding": False}, {"head_channels": 32}, {"mlp_ratio": 2.0}]
)
def test_options_of_blocks_are_refused_in_the_training_of_other_kinds(kind, option):
    with pytest.raises(ConfigError, match=rf"denoiser.{next(iter(option))}=\S+ has no effect with .*kind={kind.value}"):
        TrainConfig(denoiser=DenoiserConfig(kind=kind, **option))
    TrainConfig(denoiser=DenoiserConfig(**option))
    assert DenoiserConfig(kind=kind, **option).kind is kind, "folders of before may hold it"
