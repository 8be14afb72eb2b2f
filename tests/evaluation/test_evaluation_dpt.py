"""The trunk of DPT, and the depth head behind it."""

import pytest
import torch
from torch import nn

from dvt.backbone.features import Features
from dvt.errors import ConfigError
from dvt.evaluation.config.depth import HeadConfig, HeadKind, LinearDepthConfig, OptimizerConfig
from dvt.evaluation.probes.depth_head import Batch, DepthHead, fit_head, with_class_token
from dvt.evaluation.probes.dpt import DptTrunk
from dvt.grid import PatchGrid
from dvt.progress import SILENT

DPT = HeadConfig(kind=HeadKind.dpt, width=8, num_bins=16)


@pytest.mark.parametrize("num_layers", [1, 2, 3, 4])
@pytest.mark.parametrize("hw", [(3, 5), (1, 1), (4, 4)])
def test_four_cells_a_patch_from_any_number_of_blocks(num_layers, hw):
    trunk = DptTrunk(num_layers, num_channels=6, width=8)
    made = trunk(torch.rand(2, *hw, num_layers * 6))
    assert made.shape == (2, 4 * hw[0], 4 * hw[1], 8)
    made.sum().backward()
    assert all(parameter.grad is not None for parameter in trunk.parameters())


def test_each_block_has_its_scale():
    """A change in one cell of a deep block spreads over more cells than one of an early block."""
    torch.manual_seed(0)
    trunk, tokens = DptTrunk(4, num_channels=3, width=8), torch.rand(1, 16, 16, 12)
    for part in (*trunk.fuse,):  # without the residual units what is added is seen
        for unit in (part.before, part.after):
            nn.init.zeros_(unit.second.weight)
            nn.init.zeros_(unit.second.bias)
    reach = []
    with torch.no_grad():
        before = trunk(tokens)
        for layer in range(4):
            changed = tokens.clone()
            changed[0, 8, 8, 3 * layer : 3 * layer + 3] += 1
            reach.append(int(((trunk(changed) - before).abs().amax(dim=-1) > 1e-6).sum()))
    assert reach == sorted(reach) and reach[0] < reach[3]


def test_the_class_token_of_each_block_stands_behind_its_patches():
    generator = torch.Generator().manual_seed(0)
    patches, prefix = torch.rand(1, 2, 3, 6, generator=generator), torch.rand(1, 2, 6, generator=generator)
    features = Features(patches=patches, prefix=prefix, grid=PatchGrid.of((32, 48), 16))
    tokens = with_class_token(features, num_layers=3)
    for layer, part in enumerate(tokens.chunk(3, dim=-1)):
        own = slice(2 * layer, 2 * layer + 2)
        assert torch.equal(part[..., :2], patches[..., own])
        assert torch.equal(part[..., 2:], prefix[:, :1, None, own].expand(1, 2, 3, 2))


def test_a_head_of_dpt_learns_what_two_blocks_say_together():
    """Depth is the sum of two blocks, each of which alone says half."""
    generator = torch.Generator().manual_seed(0)
    grid = PatchGrid.of((64, 64), 16)
    tokens = torch.rand(12, 4, 4, 4, generator=generator)
    depth = (1 + tokens[..., 0] + tokens[..., 2]).repeat_interleave(4, 1).repeat_interleave(4, 2)
    config = LinearDepthConfig(head=DPT)
    optimizer = OptimizerConfig(num_steps=300, batch_size=12, learning_rate=2e-2, warmup_steps=5)

    def error(head, seen):
        with torch.no_grad():
            return float((head(seen, grid) - depth).abs().mean())

    results = []
    for seen, layers in ((tokens, 2), (tokens[..., :2], 1)):
        head = DepthHead(seen.shape[-1], config.head, torch.Generator().manual_seed(0), layers)
        fit_head(head, [Batch(seen, grid, depth)] * 300, config, optimizer, SILENT)
        results.append(error(head, seen))
    assert results[0] < 0.6 * results[1], results


def test_the_weights_are_those_of_the_seed():
    def make(seed):
        torch.rand(seed + 1)  # the state of the global generator changes nothing
        return DepthHead(24, DPT, torch.Generator().manual_seed(seed), 4).state_dict()

    first, again, other = make(0), make(0), make(1)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["trunk.project.0.weight"], other["trunk.project.0.weight"])


def test_what_does_not_go_together():
    with pytest.raises(ConfigError, match=r"head.upsampling=2, and head.kind=dpt"):
        HeadConfig(kind=HeadKind.dpt, upsampling=2)
    with pytest.raises(ConfigError, match="reads up to 4 blocks, not 5"):
        DepthHead(50, DPT, torch.Generator(), 5)
