"""The folder of a published model: what goes in comes out, and everything else is refused with the way out."""

import json
from collections import Counter
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from dvt.errors import WeightsError
from dvt.files import DiskError, write_atomic
from dvt.grid import PatchGrid
from dvt.spec import FeatureSpec
from dvt.weights.folder import is_model_folder, read_model_folder, read_model_info, write_model_folder
from dvt.weights.info import ModelInfo, parse_config

INFO = ModelInfo(
    kind="denoiser",
    spec=FeatureSpec(
        backbone="vit_tiny_patch16_224.augreg_in21k_ft_in1k",
        weights_hash="ab" * 32,
        layer=11,
        norm=True,
        grid=PatchGrid.of((64, 96), 16),
        channels=192,
    ),
    architecture={"kind": "block", "num_blocks": 1},
    training={"images": 400, "steps": 100, "data": {"hash": "00"}},
    metrics={"val/mse": 0.25, "val/cosine": 1},
    base_license="apache-2.0",
    code_version="0.1.0",
)


@pytest.fixture
def state():
    generator = torch.Generator().manual_seed(0)
    return {"a.weight": torch.rand(3, 4, generator=generator), "a.bias": torch.rand(4, generator=generator).half()}


@pytest.fixture
def folder(tmp_path, state):
    write_model_folder(tmp_path / "model", state, INFO)
    return tmp_path / "model"


def refused(folder, **wish):
    with pytest.raises(WeightsError) as caught:
        read_model_folder(folder, **wish)
    assert str(folder) in str(caught.value)
    return str(caught.value)


def edit(folder, **changes):
    path = folder / "config.json"
    body = json.loads(path.read_text())
    for key, value in changes.items():
        body.pop(key, None) if value is ... else body.update({key: value})
    path.write_text(json.dumps(body))


def test_what_goes_in_comes_out(folder, state):
    got, info = read_model_folder(folder, kind="denoiser")
    assert info == INFO and read_model_info(folder) == INFO and is_model_folder(folder)
    assert set(got) == set(state)
    for key, tensor in state.items():
        assert torch.equal(got[key], tensor) and got[key].dtype == tensor.dtype
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "weights.safetensors"]


def test_other_tools_read_the_files(folder, state):
    assert set(load_file(folder / "weights.safetensors")) == set(state)
    with safe_open(folder / "weights.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}
    body = json.loads((folder / "config.json").read_text())
    assert body["kind"] == "denoiser" and body["grid"] == {"image_hw": [64, 96], "patch": 16, "stride": 16}


def test_the_same_model_gives_the_same_bytes(folder, state, tmp_path):
    write_model_folder(tmp_path / "again", dict(reversed(state.items())), INFO)
    for name in ("config.json", "weights.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_json_there_and_back():
    assert parse_config(INFO.to_json(), "config.json") == (INFO, None)
    spec = replace(INFO.spec, weights_hash=None)
    none = replace(INFO, kind="distilled", spec=spec, base_license=None, architecture={}, metrics={})
    assert parse_config(none.to_json(), "config.json") == (none, None)
    assert replace(INFO, training={"size": (1, 2)}).training == {"size": [1, 2]}, "as it comes back from JSON"


def test_tensors_that_share_memory_are_written_each_by_itself(tmp_path):
    whole = torch.arange(12.0).view(3, 4)
    state = {"whole": whole, "column": whole[:, 1], "again": whole, "learnt": torch.nn.Parameter(whole.T)}
    write_model_folder(tmp_path / "m", state, INFO)
    got, _ = read_model_folder(tmp_path / "m")
    for key, tensor in state.items():
        assert torch.equal(got[key], tensor)
    assert not got["learnt"].requires_grad


def test_a_model_replaces_the_one_before_and_nothing_else(folder):
    (folder / "README.md").write_text("mine")
    write_model_folder(folder, {"b": torch.ones(1)}, replace(INFO, spec=replace(INFO.spec, norm=False)))
    got, info = read_model_folder(folder)
    assert list(got) == ["b"] and info.spec.norm is False and (folder / "README.md").read_text() == "mine"


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("files_written", [0, 1])
def test_killed_between_the_files_it_is_the_old_model_or_refused(folder, monkeypatch, files_written):
    written = Counter()

    def write_or_die(path, data):
        if written[path.parent] == files_written:
            raise Killed
        written[path.parent] += 1
        write_atomic(path, data)

    monkeypatch.setattr("dvt.weights.folder.write_atomic", write_or_die)
    for target in (folder, folder.parent / "new"):
        with pytest.raises(Killed):
            write_model_folder(target, {"b": torch.ones(1)}, INFO)
    assert not (folder.parent / "new" / "config.json").exists(), "the commit comes last"
    if files_written == 0:
        assert "a.weight" in read_model_folder(folder)[0]
    else:
        assert "half-written" in refused(folder)


def test_a_new_folder_without_its_commit_is_half_written(folder):
    (folder / "config.json").unlink()
    assert "half-written or being written" in refused(folder) and not is_model_folder(folder)


def test_a_folder_without_its_weights(folder):
    (folder / "weights.safetensors").unlink()
    assert "no weights.safetensors" in refused(folder) and not is_model_folder(folder)


@pytest.mark.parametrize("position", [0, 9, -1])
def test_every_changed_byte_of_the_weights_is_found(folder, position):
    content = bytearray((folder / "weights.safetensors").read_bytes())
    content[position] ^= 1
    (folder / "weights.safetensors").write_bytes(content)
    assert "half-written" in (message := refused(folder)) and "copy or download the folder again" in message


def test_truncated_weights(folder):
    content = (folder / "weights.safetensors").read_bytes()
    (folder / "weights.safetensors").write_bytes(content[:-3])
    assert "half-written" in refused(folder)


@pytest.mark.other_types
@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"format": "other"}, "does not belong to a model of dvt"),
        ({"format": ...}, "does not belong to a model of dvt"),
        ({"schema": 2}, "made by a newer dvt (schema 2; this one reads 1): upgrade dvt"),
        ({"schema": ...}, "its schema version is None"),
        ({"schema": True}, "its schema version is True"),
        ({"kind": "student"}, "there is no kind of model 'student'"),
        ({"layer": "11"}, "layer is '11', not of type int"),
        ({"norm": 1}, "norm is 1, not of type bool"),
        ({"num_channels": 0}, "0 channels"),
        ({"norm": ...}, "it lacks 'norm'"),
        ({"grid": ...}, "it lacks 'grid'"),
        ({"grid": {"image_hw": [64, 96], "patch": 15, "stride": 15}}, "leave 4 px over"),
        ({"metrics": {"miou": "high"}}, "miou='high'"),
        ({"colour": "red"}, "colour"),
        ({"weights_sha256": "00"}, "half-written"),
        ({"weights_sha256": ...}, "half-written"),
    ],
    ids=str,
)
def test_an_edited_config_is_refused(folder, changes, part):
    edit(folder, **changes)
    assert part in refused(folder)


@pytest.mark.parametrize(
    ("content", "part"),
    [(b"{", "not JSON"), (b"[]", "does not belong"), (b"\xff\xfe", "not a text"), (b"", "not JSON")],
)
def test_a_damaged_config_is_refused(folder, content, part):
    (folder / "config.json").write_bytes(content)
    assert part in refused(folder)


def test_another_kind_is_named_with_the_way_to_load_it(folder, tmp_path, state):
    message = refused(folder, kind="distilled")
    assert "a denoiser of vit_tiny" in message and "dvt.load_denoiser" in message
    write_model_folder(tmp_path / "d", state, replace(INFO, kind="distilled"))
    message = refused(tmp_path / "d", kind="denoiser")
    assert "holds a distilled ViT" in message and "dvt.load_backbone" in message and "weights.safetensors" in message


def test_what_is_no_folder_of_a_model(tmp_path):
    (tmp_path / "file").write_text("")
    assert "does not exist" in refused(tmp_path / "nothing")
    assert "is a file" in refused(tmp_path / "file")
    assert "no folder of a model" in refused(tmp_path)
    assert not any(is_model_folder(tmp_path / name) for name in ("nothing", "file", ""))


def test_what_cannot_be_written_is_refused_before_anything_is(tmp_path, state):
    with pytest.raises(WeightsError, match="no weights"):
        write_model_folder(tmp_path / "m", {}, INFO)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(WeightsError, match="is a file"):
        write_model_folder(tmp_path / "file", state, INFO)
    with pytest.raises(DiskError):
        write_model_folder(tmp_path / "file" / "below", state, INFO)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.other_types
@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"kind": "teacher"}, "give one of denoiser, distilled"),
        ({"training": {"data": 1j}}, "training is not plain JSON"),
        ({"metrics": {"mse": float("nan")}}, "metrics is not plain JSON"),
        ({"metrics": {"mse": True}}, "mse=True"),
    ],
    ids=str,
)
def test_an_info_that_no_folder_can_hold(changes, part):
    with pytest.raises(WeightsError, match=part):
        replace(INFO, **changes)
