"""Weights files: what is read, what is refused, and what the report of the keys says."""

import argparse
import os
import pickle
from collections import OrderedDict

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from dvt.backbone.load import load_backbone
from dvt.errors import WeightsError
from dvt.weights.read import find_state_dict, key_report, load_strict, read_file, read_state_dict


@pytest.fixture
def state():
    generator = torch.Generator().manual_seed(0)
    return {name: torch.rand(3, 4, generator=generator) for name in ("norm.weight", "head.weight", "cls_token")}


def refused(path):
    with pytest.raises(WeightsError) as caught:
        read_state_dict(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def assert_same(got, expected):
    assert list(got) == list(expected)
    for key, tensor in expected.items():
        assert torch.equal(got[key], tensor)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ".pth.tar", ".ckpt"])
@pytest.mark.parametrize("new_format", [True, False], ids=["zip", "legacy"])
def test_files_of_torch_are_read(tmp_path, state, suffix, new_format):
    path = tmp_path / f"weights{suffix}"
    torch.save(OrderedDict(state), path, _use_new_zipfile_serialization=new_format)
    assert_same(read_state_dict(path), state)


def test_safetensors_are_read(tmp_path, state):
    save_file(state, tmp_path / "weights.safetensors")
    got = read_state_dict(tmp_path / "weights.safetensors")
    assert_same(got, {key: state[key] for key in got})
    assert set(got) == set(state)


def test_parameters_come_as_plain_tensors(tmp_path):
    torch.save({"weight": nn.Parameter(torch.ones(2))}, tmp_path / "a.pth")
    assert not read_state_dict(tmp_path / "a.pth")["weight"].requires_grad


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": state, "optimizer": {"lr": 0.1}, "args": argparse.Namespace(lr=0.1)},
        lambda state: {"step": 3, "model_state": {"model": state}},
        lambda state: {f"module.{key}": tensor for key, tensor in state.items()},
        lambda state: {"model": {f"model.{key}": tensor for key, tensor in state.items()}},
        lambda state: {"student": {}, "teacher": {f"module.backbone.{key}": tensor for key, tensor in state.items()}},
        lambda state: {"predictor": {}, "encoder": {f"module.{key}": tensor for key, tensor in state.items()}},
        lambda state: {f"_orig_mod.{key}": tensor for key, tensor in state.items()},
        lambda state: {
            "denoiser": {f"model.{key}": tensor for key, tensor in state.items()},
            "optimizer": {},
            "step": 1,
        },
        lambda state: {"state_dict": {f"network.{key}": tensor for key, tensor in state.items()}, "global_step": 1},
        lambda state: {f"network.backbone.vit.{key}": tensor for key, tensor in state.items()},
    ],
    ids=[
        "state_dict",
        "model",
        "twice",
        "module.",
        "model.",
        "teacher",
        "encoder",
        "compiled",
        "denoiser",
        "network.",
        "student",
    ],
)
def test_usual_wrappings_are_taken_off(tmp_path, state, wrap):
    torch.save(wrap(state), tmp_path / "weights.pth")
    assert_same(read_state_dict(tmp_path / "weights.pth"), state)


def test_all_that_a_file_holds_is_read_beside_its_state_dict(tmp_path, state):
    path = tmp_path / "a.ckpt"
    torch.save({"state_dict": state, "settings": {"heads": 3}}, path)
    content = read_file(path)
    assert content["settings"] == {"heads": 3}
    assert_same(find_state_dict(content, path), state)


def test_a_prefix_that_some_keys_have_stays(tmp_path, state):
    both = {"backbone.cls_token": state["cls_token"], "head.mlp": state["head.weight"]}
    torch.save(both, tmp_path / "a.pth")
    assert_same(read_state_dict(tmp_path / "a.pth"), both)


@pytest.mark.parametrize(
    ("content", "taken"),
    [
        ({"teacher": 0, "student": 1}, "teacher"),
        ({"model": 1, "model_ema": 0, "optimizer": None}, "model_ema"),
        ({"state_dict": 1, "state_dict_ema": {"module": 0}}, "state_dict_ema"),
        ({"encoder": 0, "target_encoder": 1}, "encoder"),
        ({"model": 0, "model_ema": None}, ""),
        ({"model": 0, "ema": {"decay": 0.9}}, ""),
        ({"student": 0}, ""),
    ],
)
def test_of_two_sets_of_weights_the_running_mean_is_taken_and_said(tmp_path, state, content, taken, caplog):
    states = [state, {key: tensor + 1 for key, tensor in state.items()}]

    def put(entry):
        if isinstance(entry, dict):
            return {key: put(value) for key, value in entry.items()}
        return states[entry] if isinstance(entry, int) else entry

    torch.save(put(content), tmp_path / "a.pth")
    assert_same(read_state_dict(tmp_path / "a.pth"), state)
    assert (f": {taken} is taken." in caplog.text) if taken else not caplog.records


def test_prefixes_that_would_collide_stay(tmp_path, state):
    both = {"a": state["cls_token"], "backbone.a": state["norm.weight"]}
    torch.save(both, tmp_path / "a.pth")
    assert_same(read_state_dict(tmp_path / "a.pth"), both)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"model": {"a": torch.ones(1)}, "state_dict": {"a": torch.ones(1)}}, "keys model, state_dict"),
        ({"a": torch.ones(1), "epoch": 3}, "keys a, epoch"),
        ({"model": {}}, "keys (none) under model"),
        ([torch.ones(1)], "a list"),
        (torch.ones(1), "a Tensor"),
        ({3: torch.ones(1)}, "keys 3"),
        ({f"part_{index}": {} for index in range(20)}, "part_7, ... (20 in all)"),
    ],
)
def test_what_is_no_state_dict_is_named(tmp_path, content, expected):
    torch.save(content, tmp_path / "a.pth")
    message = refused(tmp_path / "a.pth")
    assert expected in message
    assert "Save the state dict alone" in message


class Evil:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin"])
@pytest.mark.parametrize("kind", ["zip", "legacy", "pickle 2", "pickle 5"])
def test_code_in_a_pickle_is_refused_and_not_run(tmp_path, state, suffix, kind):
    path, trace = tmp_path / f"weights{suffix}", tmp_path / "it ran"
    content = {**state, "evil": Evil(trace)}
    if kind.startswith("pickle"):
        path.write_bytes(pickle.dumps({"evil": Evil(trace)}, protocol=int(kind[-1])))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=kind == "zip")
    message = refused(path)
    assert not trace.exists()
    assert "no code of a file is run" in message
    assert ("Python objects" if kind == "pickle 5" else "mkdir") in message
    assert ".safetensors" in message


@pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning", "ignore:.torch.jit:DeprecationWarning")
def test_torchscript_is_refused(tmp_path):
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), tmp_path / "a.pt")
    assert "TorchScript archive: it holds a program" in refused(tmp_path / "a.pt")


def test_a_missing_file(tmp_path):
    assert "does not exist" in refused(tmp_path / "a.pth")


def test_a_folder(tmp_path):
    assert "is a folder" in refused(tmp_path)


@pytest.mark.parametrize("name", ["weights.npz", "weights", "weights.h5"])
def test_an_unknown_kind(tmp_path, name):
    (tmp_path / name).write_bytes(b"something")
    assert "of no known kind" in refused(tmp_path / name)


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n", "git lfs pull"),
        (b"\n<!DOCTYPE html><html>404</html>", "web page"),
        (b"Entry not found", "damaged, truncated, or not a"),
        (bytes(range(256)) * 40, "damaged, truncated, or not a"),
    ],
    ids=["empty", "lfs", "html", "text", "noise"],
)
def test_files_that_are_no_weights(tmp_path, name, content, expected):
    (tmp_path / name).write_bytes(content)
    assert expected in refused(tmp_path / name)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_a_truncated_file(tmp_path, state, kind, share):
    path = tmp_path / ("a.safetensors" if kind == "safetensors" else "a.pth")
    if kind == "safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=kind == "zip")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    message = refused(path)
    assert "damaged, truncated" in message
    assert "\n" not in message


def test_report_lists_what_does_not_fit():
    model = {"a": torch.ones(2), "b": torch.ones(3, 4), "c": torch.ones(1)}
    file = {"a": torch.ones(2), "b": torch.ones(4, 3), "d": torch.ones(1)}
    report = key_report(model, file)
    assert not report.ok
    assert (report.missing, report.unexpected, report.mis_shaped) == (("c",), ("d",), (("b", (3, 4), (4, 3)),))
    assert str(report).splitlines() == [
        "1 missing from the file:",
        "    c",
        "1 in the file but not in the model:",
        "    d",
        "1 of another shape:",
        "    b: (3, 4) in the model, (4, 3) in the file",
    ]


def test_a_long_report_is_cut_and_counted():
    report = key_report({f"blocks.{index}": torch.ones(1) for index in range(100)}, {})
    lines = str(report).splitlines()
    assert lines[0] == "100 missing from the file:"
    assert lines[-1] == "    and 92 more"
    assert len(lines) == 10


def test_equal_keys_are_ok():
    report = key_report({"a": torch.ones(2)}, {"a": torch.zeros(2)})
    assert report.ok
    assert str(report) == "every key fits"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda state: state.pop("bias"), "1 missing from the file"),
        (lambda state: state.update(more=torch.ones(1)), "1 in the file but not in the model"),
        (lambda state: state.update(bias=torch.ones(1)), "1 of another shape"),
    ],
    ids=["missing", "unexpected", "mis-shaped"],
)
def test_load_strict_copies_everything_or_nothing(change, expected):
    module = nn.Linear(2, 3)
    before = {key: tensor.clone() for key, tensor in module.state_dict().items()}
    state = {"weight": torch.ones(3, 2), "bias": torch.ones(3)}
    change(state)
    with pytest.raises(WeightsError, match=rf"a.pth does not fit the model \(Linear\)(?s:.*){expected}"):
        load_strict(module, state, source="a.pth")
    assert_same(module.state_dict(), before)
    load_strict(module, {"weight": torch.ones(3, 2), "bias": torch.ones(3)}, source="a.pth")
    assert module.weight.eq(1).all()
    assert module.bias.eq(1).all()


OTHER_FORMATS = (torch.int8, torch.uint8, torch.int32, torch.int64, torch.bool, torch.float8_e4m3fn, torch.complex64)


@pytest.mark.parametrize("dtype", OTHER_FORMATS, ids=str)
@pytest.mark.parametrize("key", ["blocks.3.attn.qkv.weight", "pos_embed", "norm.bias"])
def test_numbers_that_are_no_floats_are_not_taken_for_weights(dtype, key, tmp_path, tiny_vit_state):
    path = tmp_path / "a.safetensors"
    save_file({**tiny_vit_state, key: tiny_vit_state[key].to(dtype)}, path)
    text = rf"a.safetensors holds {key} as {str(dtype).removeprefix('torch.')} \(1 tensors .* give weights in float32"
    with pytest.raises(WeightsError, match=text):
        load_backbone("augreg_tiny", weights=path, device="cpu")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_floats_of_other_sizes_are_taken(dtype, tmp_path, tiny_vit_state):
    save_file({key: tensor.to(dtype) for key, tensor in tiny_vit_state.items()}, tmp_path / "a.safetensors")
    backbone = load_backbone("augreg_tiny", weights=tmp_path / "a.safetensors", device="cpu")
    assert torch.equal(backbone.vit.norm.weight, tiny_vit_state["norm.weight"].to(dtype).float())


def test_integers_in_the_place_of_integers_are_taken():
    module = nn.BatchNorm1d(2)
    load_strict(module, {**module.state_dict(), "num_batches_tracked": torch.tensor(7)}, source="a.pth")
    assert module.num_batches_tracked == 7
