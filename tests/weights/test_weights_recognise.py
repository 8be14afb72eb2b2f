"""The original's files, told by their content; the output is that of their definition."""

import pickle

import pytest
import torch
from originals import block_state, convolution_state, run_blocks, run_convolutions
from safetensors.torch import save_file

import dvt
from dvt.denoiser.config import DenoiserConfig, Kind
from dvt.errors import WeightsError


def raw(channels=64, rows=4, columns=4):
    return torch.randn(2, rows, columns, channels, generator=torch.Generator().manual_seed(1))


def outputs(denoiser, patches):
    with torch.no_grad():
        return denoiser(patches)


def assert_loaded(denoiser, state):
    """The very tensors, in evaluation mode."""
    assert list(denoiser.state_dict()) == list(state) and not denoiser.training
    for key, tensor in denoiser.state_dict().items():
        assert torch.equal(tensor, state[key].float()), key


WRAPPINGS = {
    "released": lambda state: {"denoiser": state},
    "trainer": lambda state: {"denoiser": state, "optimizer": {"state": {}, "param_groups": [{"lr": 1.0}]}, "step": 5},
    "distributed": lambda state: {"denoiser": {f"module.{key}": tensor for key, tensor in state.items()}},
    "compiled": lambda state: {"denoiser": {f"_orig_mod.{key}": tensor for key, tensor in state.items()}},
    "plain": lambda state: state,
    "state_dict": lambda state: {"state_dict": state, "epoch": 3},
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
@pytest.mark.parametrize("blocks", [1, 3])
@pytest.mark.parametrize("positions", [16, 0], ids=["embedding", "no embedding"])
def test_blocks_are_recognised_in_every_wrapping(save, wrapping, blocks, positions):
    state = block_state(blocks=blocks, positions=positions)
    denoiser = dvt.load_denoiser(save(WRAPPINGS[wrapping](state), "a.pth"))
    assert_loaded(denoiser, state)
    assert denoiser.config == DenoiserConfig(num_blocks=blocks, position_embedding=positions > 0)
    assert denoiser.num_channels == 64 and denoiser.info is None
    assert denoiser.grid_hw == ((4, 4) if positions else (1, 1))


@pytest.mark.parametrize(("channels", "blocks", "positions"), [(64, 1, 16), (192, 2, 16), (128, 1, 0)])
def test_the_output_is_that_of_the_definition(save, channels, blocks, positions):
    state = block_state(channels, positions, blocks)
    patches = raw(channels)
    got = outputs(dvt.load_denoiser(save({"denoiser": state}, "a.pth")), patches)
    expected = run_blocks(state, patches.flatten(1, 2)).unflatten(1, (4, 4))
    assert (got - expected).abs().max() <= 1e-5
    assert (got - patches).abs().max() > 0.1, "it does something"


def test_at_the_real_size(save):
    state = block_state(768, 37 * 37)
    assert len(state) == 13
    path = save({"denoiser": state}, "vit_base_patch14_dinov2.lvd142m.pth")
    assert abs(path.stat().st_size / 1e6 - 32.6) < 0.1, "that of the released file"
    denoiser = dvt.load_denoiser(path)
    patches = raw(768, 37, 37)[:1]
    expected = run_blocks(state, patches.flatten(1, 2)).unflatten(1, (37, 37))
    assert (outputs(denoiser, patches) - expected).abs().max() <= 1e-5


@pytest.mark.parametrize("size", [1, 3])
def test_convolutions(save, size):
    state = convolution_state(size=size)
    denoiser = dvt.load_denoiser(save({"denoiser": state, "step": 1}, "a.pth"))
    assert_loaded(denoiser, state)
    assert denoiser.config.kind is {1: Kind.conv1x1, 3: Kind.conv3x3}[size]
    patches = raw(rows=3, columns=5)
    assert (outputs(denoiser, patches) - run_convolutions(state, patches)).abs().max() <= 1e-5


def test_safetensors_of_plain_tensors(here):
    state = block_state()
    save_file(state, here / "a.safetensors")
    assert torch.equal(dvt.load_denoiser("a.safetensors").pos_embed, state["pos_embed"])


def test_half_precision_comes_as_float32(save):
    state = {key: tensor.half() for key, tensor in block_state().items()}
    assert_loaded(dvt.load_denoiser(save({"denoiser": state}, "a.pth")), state)


@pytest.mark.parametrize("prefix", ["network.", "denoiser."])
def test_a_checkpoint_of_our_training(save, prefix):
    """Heads of 32 channels are in the settings alone."""
    state = block_state()
    settings = {"denoiser": {"kind": "block", "num_blocks": 1, "head_channels": 32}, "seed": 0}
    content = {
        "state_dict": {f"{prefix}{key}": tensor for key, tensor in state.items()},
        "current_model_state": {f"{prefix}{key}": tensor + 1 for key, tensor in state.items()},
        "optimizer_states": [{"state": {}}],
        "global_step": 7,
        "dvt": {"settings": settings},
    }
    denoiser = dvt.load_denoiser(save(content, "step-00000007.ckpt"))
    assert_loaded(denoiser, state)
    assert denoiser.config == DenoiserConfig(head_channels=32)


def test_loading_leaves_the_global_generator_alone(save):
    path = save({"denoiser": block_state()}, "a.pth")
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    dvt.load_denoiser(path)
    assert torch.equal(torch.rand(1), expected)


def refused(content, save, name="a.pth"):
    path = save(content, name)
    with pytest.raises(WeightsError) as caught:
        dvt.load_denoiser(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_a_position_embedding_that_is_not_square(save):
    message = refused({"denoiser": block_state(positions=24)}, save)
    assert "24 entries" in message and "no square grid" in message and "model folder" in message


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda state: state.pop("denoiser.attn.qkv.bias"), "1 missing from the file:\n    denoiser.attn.qkv.bias"),
        (lambda state: state.update({"denoiser.ls1.gamma": torch.ones(64)}), "denoiser.ls1.gamma"),
        (lambda state: state.update({"denoiser.mlp.fc2.bias": torch.ones(3)}), "(64) in the model, (3) in the file"),
        (lambda state: state.pop("denoiser.norm1.weight"), "no denoiser that is known here"),
        (lambda state: state.pop("denoiser.mlp.fc1.weight"), "no denoiser that is known here"),
        (lambda state: state.update({"denoiser.0.weight": torch.ones(64, 64, 5, 5)}), "no 1 x 1 or 3 x 3 convolution"),
    ],
)
def test_tensors_that_do_not_fit_are_named(save, change, part):
    state = block_state()
    change(state)
    assert part in refused({"denoiser": state}, save)


def test_channels_that_are_no_multiple_of_a_head(save):
    assert "does not divide the 96 channels" in refused({"denoiser": block_state(channels=96)}, save)


@pytest.mark.parametrize("key", ["model", "denoiser"])
def test_a_distilled_file_is_named_with_the_way_to_load_it(save, tiny_vit_state, key):
    content = {key: {f"model.{name}": tensor for name, tensor in tiny_vit_state.items()}, "optimizer": {}, "step": 1}
    message = refused(content, save)
    assert "is a whole ViT" in message and "dvt.load_denoised(" in message and "dvt.load_backbone(" in message


def test_what_is_neither(save):
    assert "neither a denoiser nor a ViT (its keys: head.weight, ...)" in refused({"head.weight": torch.ones(2)}, save)


class Evil:
    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        import os

        return os.mkdir, (str(self.trace),)


@pytest.mark.parametrize("kind", ["torch", "pickle"])
def test_code_in_a_file_is_refused_and_not_run(save, here, kind):
    trace = here / "it ran"
    path = save({"denoiser": block_state(), "step": Evil(trace)}, "a.pth")
    if kind == "pickle":
        path.write_bytes(pickle.dumps(Evil(trace), protocol=2))
    with pytest.raises(WeightsError, match="no code of a file is run"):
        dvt.load_denoiser(path)
    assert not trace.exists()
