"""Semantic tokens: the equations by hand and against a plain twin, and the denoiser that is made of them."""

import json
from math import log, sqrt

import pytest
import torch
from noise import write_noise
from reporters import ActAt
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

import dvt
from dvt.decomposition.quality import load_quality
from dvt.denoiser.config import DenoiserConfig, Kind, Mixing, TrainConfig
from dvt.denoiser.network import Denoiser
from dvt.denoiser.semantic_tokens import (
    FilterTokenizer,
    Projector,
    RecurrentTokenizer,
    TokenTransformer,
    VisualTransformers,
)
from dvt.denoiser.train import train_denoiser
from dvt.errors import ConfigError, WeightsError
from dvt.files import plain
from dvt.settings import differences
from dvt.weights.build import load_denoiser
from dvt.weights.checkpoint import checkpoint_path
from dvt.weights.convert import convert
from dvt.weights.folder import read_model_folder

EYE = torch.eye(2)


def tokens_denoiser(channels=16, grid_hw=(4, 4), **config):
    torch.manual_seed(0)
    return Denoiser(DenoiserConfig(kind=Kind.semantic_tokens, **config), channels, grid_hw).eval()


def far_from_zero(module):
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return module.eval()


def filled(module, **weights):
    with torch.no_grad():
        for name, value in weights.items():
            module.get_parameter(name).copy_(torch.as_tensor(value))
    return module


# ---------------------------------------------------------------------------------------------------- by hand


def test_a_token_of_the_filter_tokenizer_is_a_weighted_mean_of_the_patches():
    """Logits ln 3 and 0 weight two patches 3 to 1; a filter of zeros takes their mean."""
    tokenizer = filled(FilterTokenizer(2, 2), **{"filters.weight": [[log(3), 0.0], [0.0, 0.0]]})
    torch.testing.assert_close(tokenizer(EYE[None])[0], torch.tensor([[0.75, 0.25], [0.5, 0.5]]))


def test_filters_of_the_recurrent_tokenizer_are_the_tokens_before():
    """W_TR swaps the channels: a token that points along the second channel looks for the first."""
    tokenizer = filled(RecurrentTokenizer(2), **{"to_filters.weight": EYE.flip(0)})
    before = torch.tensor([[[0.0, sqrt(2) * log(3)], [0.0, 0.0]]])
    torch.testing.assert_close(tokenizer(EYE[None], before)[0], torch.tensor([[0.75, 0.25], [0.5, 0.5]]))


def test_tokens_are_mixed_and_go_through_two_layers():
    """Logits (ln 2) t_i t_j of the tokens 1 and 2: weights 1/3 and 2/3, and 1/5 and 4/5."""
    weights = {"keys.weight": [[log(2)]], "queries.weight": [[1.0]], "first.weight": [[1.0]], "second.weight": [[0.5]]}
    transformer, tokens = filled(TokenTransformer(1), **weights), torch.tensor([[[1.0], [2.0]]])
    torch.testing.assert_close(transformer(tokens)[0, :, 0], 1.5 * torch.tensor([1 + 5 / 3, 2 + 9 / 5]))
    filled(transformer, **{"first.weight": [[-1.0]]})  # relu stops what is below 0
    torch.testing.assert_close(transformer(tokens)[0, :, 0], torch.tensor([1 + 5 / 3, 2 + 9 / 5]))


def test_the_projector_adds_the_tokens_that_a_patch_looks_for():
    """Logits ln 3 and 0 for the first patch, 0 and ln 4 for the second; the scale doubles the second channel."""
    weights = {"keys.weight": EYE, "queries.weight": EYE, "scale": [1.0, 2.0]}
    first, second = sqrt(2) * log(3), sqrt(2) * log(4)
    added = filled(Projector(2), **weights)(EYE[None], torch.diag(torch.tensor([first, second]))[None])[0]
    expected = torch.tensor([[0.75 * first, 2 * 0.25 * second], [0.2 * first, 2 * 0.8 * second]])
    torch.testing.assert_close(added, expected)


# ---------------------------------------------------------------------------------------------------- properties


def twin(stack, patches, num_levels):
    """The equations as they are printed, one image and one level at a time."""
    root = sqrt(patches.shape[-1] // num_levels)
    made = []
    for image in patches:
        levels, before = image.chunk(num_levels, dim=-1), None
        for stage in stack.stages:
            normed = [norm(level) for norm, level in zip(stage.norms, levels, strict=True)]
            found = []
            for number, (tokenizer, x) in enumerate(zip(stage.tokenizers, normed, strict=True)):
                if before is None:
                    a = torch.softmax(x @ tokenizer.filters.weight.T, dim=0)
                else:
                    w_r = before.chunk(num_levels)[number] @ tokenizer.to_filters.weight.T
                    a = torch.softmax(x @ w_r.T / root, dim=0)
                found.append(a.T @ x)
            t, of = torch.cat(found), stage.transformer
            t = t + torch.softmax((t @ of.keys.weight.T) @ (t @ of.queries.weight.T).T / root, dim=1) @ t
            t = t + torch.relu(t @ of.first.weight.T) @ of.second.weight.T
            out = []
            for projector, level, x in zip(stage.projectors, levels, normed, strict=True):
                seen = torch.softmax((x @ projector.queries.weight.T) @ (t @ projector.keys.weight.T).T / root, dim=1)
                out.append(level + projector.scale * (seen @ t))
            levels, before = out, t
        made.append(torch.cat(levels, dim=-1))
    return torch.stack(made)


@pytest.mark.parametrize(("num_modules", "num_levels"), [(1, 1), (3, 1), (2, 3)])
def test_modules_are_the_equations_with_their_gradients(num_modules, num_levels):
    stack = far_from_zero(VisualTransformers(5, 3, num_modules, num_levels)).double()
    patches = torch.randn(2, 11, 5 * num_levels, generator=torch.Generator().manual_seed(0)).double().requires_grad_()
    wanted = torch.randn(patches.shape, generator=torch.Generator().manual_seed(2)).double()
    results = []
    for made in (stack(patches), twin(stack, patches, num_levels)):
        leaves = [patches, *stack.parameters()]
        results.append([made, *torch.autograd.grad((made * wanted).sum(), leaves)])
    for fast, slow in zip(*results, strict=True):
        assert fast.abs().max() > 1e-4  # every weight matters
        torch.testing.assert_close(fast, slow, rtol=1e-9, atol=1e-11)


def test_patches_in_another_order_give_the_same_features_in_that_order():
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    raw = torch.randn(1, 3, 4, 16, generator=torch.Generator().manual_seed(1))
    shuffled = raw.flatten(1, 2)[:, order].reshape(raw.shape)
    with torch.no_grad():
        for embedded in (False, True):
            network = far_from_zero(tokens_denoiser(grid_hw=(3, 4), num_blocks=2, position_embedding=embedded))
            moved, wanted = network(shuffled), network(raw).flatten(1, 2)[:, order].reshape(raw.shape)
            assert torch.allclose(moved, wanted, atol=1e-5) != embedded


@pytest.mark.parametrize("options", [{}, {"num_blocks": 3}, {"tokens": 40}, {"groups": 2}])
def test_it_starts_as_the_identity_and_can_leave_it(options):
    raw = torch.randn(2, 4, 4, 16)
    assert torch.equal(tokens_denoiser(position_embedding=False, **options)(raw), raw)
    network = tokens_denoiser(**options)
    torch.testing.assert_close(network(raw), raw + network.pos_embed.reshape(1, 4, 4, 16))
    network(raw).square().sum().backward()
    scales = [parameter for name, parameter in network.named_parameters() if name.endswith("scale")]
    assert len(scales) == options.get("num_blocks", 1) * options.get("groups", 1)
    assert all(scale.grad.abs().min() > 0 for scale in scales)


def test_work_grows_linearly_with_the_patches_and_that_of_a_block_does_not():
    def work(kind, side):
        network = Denoiser(DenoiserConfig(kind=kind), 64, (side, side)).eval()
        if kind is Kind.block:
            network.denoiser.attn.fused_attn = False  # the counter does not see fused attention
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(torch.zeros(1, side, side, 64))
        return counter.get_total_flops()

    tokens, block = ([work(kind, side) for side in (8, 16, 32)] for kind in (Kind.semantic_tokens, Kind.block))
    assert tokens[2] - tokens[1] == 4 * (tokens[1] - tokens[0])  # a constant and a term in N = 64, 256, 1024
    assert block[2] - block[1] > 5 * (block[1] - block[0])
    # Four products of N L C multiplications; at the tokens 7 of L C^2 and 2 of L^2 C, less one for the folded product.
    assert tokens[1] - tokens[0] == 2 * (256 - 64) * 4 * 16 * 64
    assert block[2] > 20 * tokens[2]


def test_no_tensor_holds_pairs_of_patches():
    class Largest(TorchDispatchMode):
        numel = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor):
                self.numel = max(self.numel, out.numel())
            return out

    network = tokens_denoiser(grid_hw=(20, 20), tokens=4)
    with Largest() as largest, torch.no_grad():
        network(torch.zeros(1, 20, 20, 16))
    assert largest.numel == 400 * 16


def test_levels_share_one_transformer():
    """VT-FPN: what is seen in one level reaches the others through the tokens."""
    stack = far_from_zero(VisualTransformers(4, 2, num_levels=3))
    patches = torch.randn(1, 6, 12, generator=torch.Generator().manual_seed(0))
    changed = patches.clone()
    changed[:, 0, :4] += torch.tensor([1.0, -1.0, 2.0, 0.0])
    with torch.no_grad():
        moved = (stack(patches) - stack(changed)).abs()
        alone = VisualTransformers(4, 2, num_levels=3)  # untrained: each level is itself
        assert torch.equal(alone(changed), changed)
    assert moved[:, 1:, 4:8].min() > 1e-6 and moved[:, 1:, 8:].min() > 1e-6
    _, tokens = stack.stages[0](list(patches.chunk(3, dim=-1)), None)
    assert tokens.shape == (1, 6, 4)


def test_groups_layers_and_cells():
    raw = torch.randn(2, 4, 5, 16)
    apart, changed = far_from_zero(tokens_denoiser(groups=2)), raw.clone()
    changed[..., :8] += torch.randn(8)
    with torch.no_grad():
        before, after = apart(raw), apart(changed)
        assert torch.equal(before[..., 8:], after[..., 8:]) and not torch.allclose(before[..., :8], after[..., :8])
        finer = far_from_zero(tokens_denoiser(fine=2, layers=[1], mixing=Mixing.linear))
        assert finer(torch.cat([raw, raw], dim=-1)).shape == (2, 8, 10, 16)


def test_what_has_no_effect_is_refused():
    for options, message in (
        ({"kind": Kind.block, "tokens": 8}, r"denoiser.tokens=8 has no effect with denoiser.kind=block: leave it out"),
        ({"tokens": 0}, r"denoiser.tokens=0: give at least 1"),
        ({"head_channels": 32}, r"denoiser.head_channels=32 has no effect with denoiser.kind=semantic_tokens"),
        ({"mlp_ratio": 2.0}, r"denoiser.mlp_ratio=2.0 has no effect with denoiser.kind=semantic_tokens"),
    ):
        with pytest.raises(ConfigError, match=message):
            TrainConfig(denoiser=DenoiserConfig(**({"kind": Kind.semantic_tokens} | options)))
    with pytest.raises(ConfigError, match=r"denoiser.groups=3 with denoiser.kind=semantic_tokens and 16 channels"):
        tokens_denoiser(groups=3)
    with pytest.raises(TypeError, match="tokens is '8', not of type int"):
        DenoiserConfig.from_plain({"kind": "semantic_tokens", "tokens": "8"})


def test_settings_and_files_of_other_kinds_are_as_before():
    """A checkpoint from before the option can be resumed, and an older dvt reads what is written for a block."""
    now = plain(DenoiserConfig())
    before = {name: value for name, value in now.items() if name != "tokens"}
    assert differences(before, now, "checkpoint", "run") == []
    assert DenoiserConfig().to_plain() == before and DenoiserConfig.from_plain(before) == DenoiserConfig()
    own = DenoiserConfig(kind=Kind.semantic_tokens, tokens=4)
    assert own.to_plain()["tokens"] == 4 and DenoiserConfig.from_plain(own.to_plain()) == own


# ---------------------------------------------------------------------------------------------------- trained

CONFIG = DenoiserConfig(kind=Kind.semantic_tokens, tokens=4, num_blocks=2)


@pytest.fixture(scope="module")
def run(tmp_path_factory, options):
    """A store of vit_micro, a denoiser trained on it in two parts, and its metrics."""
    folder = tmp_path_factory.mktemp("semantic")
    for number in range(6):
        write_noise(folder / "photos" / f"{number}.png", (70, 90), number)
    backbone = dvt.load_backbone("vit_micro", image_size=64, device="cpu")
    dvt.decompose_list(
        dvt.find_images(folder / "photos"), backbone, folder / "store", load_quality("tiny", {"num_views": 3})
    )
    config = options(num_steps=30, denoiser=CONFIG, optimizer={"base_learning_rate": 3e-2}, validate_every=30)
    assert train_denoiser([folder / "store"], folder / "out", config, reporter=ActAt(5)).interrupted
    return folder, train_denoiser([folder / "store"], folder / "out", config), backbone, config


def test_it_learns_and_a_stopped_run_ends_with_the_same_weights(run):
    folder, trained, _, config = run
    assert trained.step == 30 and trained.metrics["val/mse"] < 0.97 * trained.metrics["val/raw_mse"]
    train_denoiser([folder / "store"], folder / "whole", config)
    parts, whole = (read_model_folder(folder / name)[0] for name in ("out", "whole"))
    assert parts.keys() == whole.keys() and all(torch.equal(parts[name], whole[name]) for name in parts)
    assert "denoiser.stages.1.tokenizers.0.to_filters.weight" in parts


def test_it_is_loaded_from_a_folder_and_from_a_checkpoint(run, tmp_path):
    folder, _, _, _ = run
    loaded = load_denoiser(folder / "out")
    assert loaded.config == CONFIG
    assert json.loads((folder / "out" / "config.json").read_text())["architecture"]["tokens"] == 4
    loaded.save_pretrained(tmp_path / "again")
    raw = torch.randn(1, 4, 4, 192)
    with torch.no_grad():
        assert not torch.allclose(loaded(raw), raw + loaded.pos_embed.reshape(1, 4, 4, 192), atol=1e-4)
        assert torch.equal(Denoiser.from_pretrained(tmp_path / "again")(raw), loaded(raw))
        from_checkpoint = load_denoiser(checkpoint_path(folder / "out" / "checkpoints", 30))
        assert from_checkpoint.config == CONFIG and torch.equal(from_checkpoint(raw), loaded(raw))
    with pytest.raises(WeightsError, match="this denoiser is one of semantic tokens, and the original's format"):
        convert(folder / "out", tmp_path / "original.pth")
