"""The position adversary: its parts by hand, what it reads of a planted position, and its runs."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from reporters import ActAt

from dvt.denoiser.config import AdversaryConfig, Answer, DenoiserConfig, Kind, TrainConfig
from dvt.denoiser.l2_attention import L2Attention, l2_weights
from dvt.denoiser.position_adversary import PositionAdversary
from dvt.denoiser.spectral_norm import SpectralLinear
from dvt.denoiser.train import train_denoiser
from dvt.errors import ConfigError, TrainingError
from dvt.grid import PatchGrid
from dvt.spec import FeatureSpec
from dvt.store import StoreMeta, StoreWriter
from dvt.training.config import OptimizerConfig
from dvt.weights.build import load_denoiser
from dvt.weights.checkpoint import checkpoint_paths
from dvt.weights.folder import read_model_folder

ON = AdversaryConfig(weight=1.0, tokens=4, channels=32, num_blocks=1)
OFF = AdversaryConfig()


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_attention_by_distance_by_hand():
    weights = l2_weights(torch.tensor([[0.0, 0.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0]]))  # distance 2, root of D is 2
    far = 1 / (1 + torch.e)
    assert torch.allclose(weights, torch.tensor([[1 - far, far], [far, 1 - far]]))


def test_attention_by_distance_depends_on_distances_alone():
    keys = draw(2, 5, 8)
    weights = l2_weights(keys)
    assert torch.allclose(l2_weights(keys + draw(8, seed=1)), weights, atol=1e-5)  # dot products change
    assert torch.equal(weights.argmax(dim=-1), torch.arange(5).expand(2, 5)), "nothing is closer than the token itself"
    assert torch.allclose(l2_weights(keys[:, :1].expand(2, 5, 8)), torch.full((2, 5, 5), 0.2))


def test_attention_by_distance_has_bounded_slopes():
    """Where values are linear in the keys, as here, those of dot products grow with the square of the input."""

    def slope(weights, scale):
        keys = scale * draw(6, 4)
        jacobian = torch.autograd.functional.jacobian(lambda tokens: weights(tokens) @ tokens, keys)
        return float(torch.linalg.matrix_norm(jacobian.reshape(24, 24), 2))

    def of_products(tokens):
        return torch.softmax(tokens @ tokens.mT / 2, dim=-1)

    scales = [0.1, 0.3, 1.0, 3.0, 10.0, 30.0]
    assert max(slope(l2_weights, scale) for scale in scales) < 3
    assert max(slope(of_products, scale) for scale in scales) > 10


def test_attention_does_not_know_the_order_of_the_tokens():
    attention, tokens, order = L2Attention(8, 2), draw(3, 5, 8), torch.tensor([4, 2, 0, 1, 3])
    assert torch.allclose(attention(tokens)[:, order], attention(tokens[:, order]), atol=1e-6)


def test_the_spectral_norm_stays_that_of_the_first_weights():
    torch.manual_seed(0)
    layer, inputs, targets = SpectralLinear(12, 8), draw(64, 12), 50 * draw(64, 8, seed=1)
    first = torch.linalg.matrix_norm(layer.weight.detach(), 2)
    assert torch.allclose(layer.normed_weight(), layer.weight)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.01)
    for _ in range(100):
        layer.follow()
        optimizer.zero_grad()
        (layer(inputs) - targets).square().mean().backward()
        optimizer.step()
    layer.follow()
    assert torch.linalg.matrix_norm(layer.weight.detach(), 2) > 1.2 * first  # the steps enlarge the weights
    assert float(torch.linalg.matrix_norm(layer.normed_weight().detach(), 2)) == pytest.approx(float(first), rel=0.03)


def invariant(adversary):
    """Let nothing pass from one token of a set to another."""
    for block in adversary.blocks:
        torch.nn.init.zeros_(block.attention.output.weight)
        torch.nn.init.zeros_(block.attention.output.bias)
        block.attention.output.initial.zero_()
        block.attention.output.weight.data[0, 0] = 1  # has a norm to divide by
    return adversary


def test_consistency_is_zero_where_the_other_tokens_do_not_matter():
    torch.manual_seed(0)
    adversary, clean = PositionAdversary(ON, 8, (4, 6)), draw(3, 4, 6, 8)
    assert adversary.losses(clean + 1, clean, seed=0, step=0).consistency > 1e-6
    assert invariant(adversary).losses(clean + 1, clean, seed=0, step=0).consistency < 1e-12


def test_each_loss_reaches_one_network():
    torch.manual_seed(0)
    adversary, clean = PositionAdversary(ON, 8, (4, 6)), draw(3, 4, 6, 8)
    denoised = draw(3, 4, 6, 8, seed=1).requires_grad_()
    losses = adversary.losses(denoised, clean, seed=0, step=0)
    (losses.reads + losses.consistency).backward()
    assert denoised.grad is None and all(each.grad is not None for each in adversary.parameters())
    adversary.zero_grad()
    losses.reveals.backward()
    assert denoised.grad.abs().sum() > 0 and all(each.grad is None for each in adversary.parameters())


@pytest.mark.parametrize("answer", Answer)
def test_the_gradient_of_the_denoiser_leads_to_the_wanted_answers(answer):
    torch.manual_seed(0)
    adversary, clean = PositionAdversary(replace(ON, answer=answer), 8, (4, 6)), draw(3, 4, 6, 8)
    denoised = draw(3, 4, 6, 8, seed=1).requires_grad_()
    optimizer = torch.optim.Adam([denoised], lr=0.1)
    found = []
    for _ in range(20):
        optimizer.zero_grad()
        losses = adversary.losses(denoised, clean, seed=0, step=0)
        losses.reveals.backward()
        optimizer.step()
        found.append(float(losses.reveals.detach()))
    assert 0 <= found[-1] < 0.2 * found[0], found


@pytest.mark.parametrize("answer", Answer)
def test_nothing_is_revealed_by_wanted_answers(answer):
    torch.manual_seed(0)
    adversary, clean = PositionAdversary(replace(ON, answer=answer), 8, (4, 6)), draw(3, 4, 6, 8)
    if answer is Answer.uniform:
        adversary.answer[1].initial.zero_()
        torch.nn.init.zeros_(adversary.answer[1].bias)
    same = adversary.losses(clean, clean, seed=0, step=0)
    assert float(same.reveals.detach()) == pytest.approx(0, abs=1e-6)
    if answer is Answer.uniform:
        assert float(same.reads.detach()) == pytest.approx(torch.tensor([4.0, 6.0]).log().sum().item(), rel=1e-5)
        torch.nn.init.normal_(adversary.answer[1].bias)
        assert adversary.losses(clean, clean, seed=0, step=0).reveals > 0.1
    else:
        assert adversary.losses(clean + draw(4, 6, 8), clean, seed=0, step=0).reveals > 1e-3


def test_sets_are_other_ones_at_every_step_and_have_no_patch_twice():
    adversary = PositionAdversary(ON, 8, (4, 5))
    orders = [adversary.order(seed) for seed in (0, 1)]
    assert all(len(order) == 16 and len(order.unique()) == 16 for order in orders)
    assert not torch.equal(*orders) and torch.equal(orders[0], adversary.order(0))
    maps = draw(2, 4, 5, 8)
    adversary = PositionAdversary(ON, 8, (4, 5))
    first, again, next_step = (float(adversary.losses(maps, maps, 0, step).reads.detach()) for step in (0, 0, 1))
    assert first == pytest.approx(again, abs=1e-6) and abs(first - next_step) > 1e-5
    places = torch.arange(20.0).reshape(1, 4, 5, 1)
    assert torch.equal(adversary.token_sets(places, orders[0]).flatten(), orders[0].float())


PLANTED_HW, PLANTED_CHANNELS = (4, 4), 64
PATTERN = draw(*PLANTED_HW, PLANTED_CHANNELS)


def planted(seed, count=1):
    """Raw and clean features: content of its own in every image, and a strong map that all share."""
    clean = draw(count, *PLANTED_HW, PLANTED_CHANNELS, seed=1000 + seed)
    return clean + 1.5 * PATTERN, clean


def test_it_reads_a_planted_position_within_few_steps():
    torch.manual_seed(0)
    adversary = PositionAdversary(ON, PLANTED_CHANNELS, PLANTED_HW)
    optimizer = torch.optim.AdamW(adversary.parameters(), lr=3e-3)
    for step in range(40):
        losses = adversary.losses(*planted(step, 8), seed=0, step=step)
        optimizer.zero_grad()
        (losses.reads + 10 * losses.consistency).backward()
        optimizer.step()
    raw, clean = planted(-1, 32)
    with torch.no_grad():
        assert adversary.chance == 0.25
        assert adversary.accuracy(raw).mean() > 0.9
        assert abs(adversary.accuracy(clean).mean() - 0.25) < 0.05


@pytest.fixture(scope="module")
def planted_store(tmp_path_factory):
    """Clean features with a fifth of the map: stage 1 has not removed all of it."""
    folder = tmp_path_factory.mktemp("planted") / "store"
    meta = StoreMeta(
        spec=FeatureSpec(
            backbone="vit_tiny_patch16_224", weights_hash="0123", layer=11, norm=True, grid=PatchGrid.of((64, 64), 16),
            channels=PLANTED_CHANNELS,
        ),
        solver={"solver": "closed_form"}, quality="fast", code_version="0",
    )  # fmt: skip
    with StoreWriter.open(folder, meta) as writer:
        for number in range(64):
            raw, clean = planted(number)
            writer.put(f"{number:02d}.png", {"raw": raw[0], "clean": clean[0] + 0.3 * PATTERN})
    return folder


def position_r2(maps):
    """How much of the row and column a line through the tokens explains; of other images than it was fitted to."""
    places = torch.cartesian_prod(*(torch.arange(side, dtype=torch.float) for side in maps.shape[1:3])) - 1.5
    half = len(maps) // 2
    tokens = torch.cat([maps, torch.ones_like(maps[..., :1])], dim=-1).flatten(1, 2)
    fitted = torch.linalg.lstsq(tokens[:half].flatten(0, 1), places.repeat(half, 1)).solution
    errors = tokens[half:].flatten(0, 1) @ fitted - places.repeat(half, 1)
    return float(1 - errors.square().mean() / places.square().mean())


def test_a_denoiser_with_an_adversary_leaves_less_position(planted_store, tmp_path, options):
    left = {}
    for weight in (0.0, 0.3):
        config = options(
            num_steps=60, batch_size=16, save_every=60, validate_every=60,
            optimizer={"base_learning_rate": 1e-2, "warmup": 0.1},
            adversary=replace(ON, weight=weight, answer=Answer.uniform, learning_rate=5e-3) if weight else OFF,
        )  # fmt: skip
        train_denoiser([planted_store], tmp_path / str(weight), config)
        with torch.no_grad():
            left[weight] = position_r2(load_denoiser(tmp_path / str(weight))(planted(-1, 64)[0]))
    assert left[0.3] < left[0.0] - 0.15, left


def weights(out):
    return read_model_folder(out)[0]


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.fixture(scope="module")
def whole(store, options, tmp_path_factory):
    """A run with an adversary that nothing interrupts."""
    out = tmp_path_factory.mktemp("whole") / "out"
    return out, train_denoiser([store], out, options(adversary=ON)).metrics


def test_what_is_published_is_the_denoiser_alone(store, tmp_path, options, whole):
    out, metrics = whole
    train_denoiser([store], tmp_path / "plain", options())
    plain, with_adversary = weights(tmp_path / "plain"), weights(out)
    assert plain.keys() == with_adversary.keys() and not same(plain, with_adversary)
    assert 0 <= metrics["val/adversary_accuracy"] <= 1 and metrics["val/adversary_chance_accuracy"] == 0.25
    assert "adversary" not in json.loads((out / "config.json").read_text())["architecture"]
    content = torch.load(checkpoint_paths(out / "checkpoints")[0], weights_only=True)
    assert any(name.startswith("adversary.blocks") for name in content["state_dict"])
    assert [group["initial_lr"] for group in content["optimizer_states"][0]["param_groups"]][1] == 1e-3
    checkpoint = torch.load(checkpoint_paths(tmp_path / "plain" / "checkpoints")[0], weights_only=True)
    assert not any("adversary" in name for name in checkpoint["state_dict"])
    assert "adversary" not in checkpoint["dvt"]["settings"]


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
def test_stopped_and_resumed_it_ends_with_the_same_weights(store, tmp_path, options, whole, ema_decay):
    config = options(adversary=ON, optimizer={"ema_decay": ema_decay, "clip_norm": 1.0 if ema_decay else 0.0})
    out = whole[0]
    if ema_decay:
        train_denoiser([store], out := tmp_path / "averaged", config)
    assert train_denoiser([store], tmp_path / "parts", config, reporter=ActAt(3)).step == 3
    assert train_denoiser([store], tmp_path / "parts", config).step == 6
    assert same(weights(tmp_path / "parts"), weights(out))
    states = [
        torch.load(checkpoint_paths(each / "checkpoints")[0], weights_only=True)["state_dict"]
        for each in (out, tmp_path / "parts")
    ]
    assert same(*states), "the adversary ends the same, too"


def test_an_adversary_of_no_weight_worth_mentioning_changes_nothing_in_the_denoiser(store, tmp_path, options):
    """It reads only: the random numbers and the steps of the denoiser are those of a run without it."""
    train_denoiser([store], tmp_path / "plain", options())
    train_denoiser([store], tmp_path / "read", options(adversary=replace(ON, weight=1e-30)))
    plain, read = weights(tmp_path / "plain"), weights(tmp_path / "read")
    assert all(torch.allclose(plain[name], read[name], atol=1e-6) for name in plain)


def test_an_adversary_does_not_come_or_go_within_a_run(store, tmp_path, options, whole):
    out = shutil.copytree(whole[0], tmp_path / "out")
    with pytest.raises(
        TrainingError, match=r"another network:(.|\n)*adversary.channels: 32 in the checkpoint, nothing"
    ):
        train_denoiser([store], out, options(allow_changes=True, num_steps=8))
    heavier = options(allow_changes=True, num_steps=8, adversary=replace(ON, weight=2.0))
    assert "changed: adversary.weight: 1.0 in the checkpoint, 2.0 in the request" in str(
        train_denoiser([store], out, heavier).notes
    )


def test_clipping_is_of_each_network_alone(store, tmp_path, options):
    """A huge loss of the adversary would make the steps of the denoiser vanish: Adam hides it, SGD would not."""
    from dvt.denoiser.network import Denoiser
    from dvt.denoiser.train import DenoiserModule

    denoiser = Denoiser(DenoiserConfig(head_channels=8), 8, (4, 6))
    module = DenoiserModule(denoiser, TrainConfig(), {}, None, PositionAdversary(ON, 8, (4, 6)))
    for parameter in denoiser.parameters():
        parameter.grad = torch.full_like(parameter, 1e-4)
    for parameter in module.adversary.parameters():
        parameter.grad = torch.full_like(parameter, 1e4)
    module.configure_gradient_clipping(None, gradient_clip_val=1.0)
    assert all(torch.equal(each.grad, torch.full_like(each, 1e-4)) for each in denoiser.parameters())
    norm = torch.cat([each.grad.flatten() for each in module.adversary.parameters()]).norm()
    assert float(norm) == pytest.approx(1, rel=1e-3)


def test_options_that_cannot_work_are_refused(store, tmp_path, options):
    with pytest.raises(ConfigError, match=r"adversary.weight=1.0 with denoiser.kind=linear .* is solved"):
        TrainConfig(adversary=ON, denoiser=DenoiserConfig(kind=Kind.linear))
    with pytest.raises(ConfigError, match=r"denoiser.kind=affine is not trained"):
        TrainConfig(adversary=ON, denoiser=DenoiserConfig(kind=Kind.affine))
    with pytest.raises(ConfigError, match=r"no effect with adversary.weight=0: give a weight"):
        TrainConfig(adversary=replace(OFF, tokens=8))
    with pytest.raises(ConfigError, match=r"adversary.channels=40: give a multiple of 16"):
        AdversaryConfig(channels=40)
    with pytest.raises(ConfigError, match=r"adversary.weight=-1: give at least 0"):
        AdversaryConfig(weight=-1)
    with pytest.raises(ConfigError, match=r"adversary.tokens=17: the maps have 4 x 4 patches. Give 16 or fewer"):
        train_denoiser([store], tmp_path / "out", options(adversary=replace(ON, tokens=17)))
    assert options(optimizer={}).optimizer == OptimizerConfig()
