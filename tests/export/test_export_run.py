"""No file gets its name before it has been compared with PyTorch; what is wrong is said before the work begins."""

import sys
from pathlib import Path

import pytest
import torch

from dvt.backbone.features import Features
from dvt.errors import ConfigError, GeometryError, WeightsError
from dvt.export import run
from dvt.export.config import ExportFormat
from dvt.export.parity import Parity, ParityError, compare
from dvt.export.run import export_model, resolve_format
from dvt.files import DiskError
from dvt.grid import PatchGrid

# ---------------------------------------------------------------------------------------------------- parity


def backbone_of(patches, prefix):
    """A stand-in that gives every image the same tokens."""

    def call(images):
        count = images.shape[0]
        grid = PatchGrid.of((8, 16), 8)
        return Features(patches=patches.expand(count, 1, 2, 2), prefix=prefix.expand(count, 1, 2), grid=grid)

    return call


PATCHES, PREFIX = torch.tensor([[[[3.0, 4.0], [0.0, 2.0]]]]), torch.tensor([[[1.0, 0.0]]])


def off_by(patches=0.0, prefix=0.0, only_with=None):
    def call(images):
        count = images.shape[0]
        here = only_with is None or count == only_with
        return (
            (PATCHES + (torch.as_tensor(patches) if here else 0.0)).expand(count, 1, 2, 2),
            (PREFIX + (torch.as_tensor(prefix) if here else 0.0)).expand(count, 1, 2),
        )

    return call


@pytest.mark.parametrize("only_with", [None, 1, 2])
def test_parity_by_hand(only_with):
    model = backbone_of(PATCHES, PREFIX)
    same = compare(off_by(), model, (8, 16))
    assert same == Parity(max_difference=0.0, min_cosine=1.0, max_value=4.0, batch_sizes=(1, 2))

    in_patches = compare(off_by(patches=torch.tensor([[0.0, 0.0], [2.0, 0.0]]), only_with=only_with), model, (8, 16))
    assert in_patches.max_difference == 2.0
    assert in_patches.min_cosine == pytest.approx(0.5**0.5)  # (2, 2) for (0, 2)

    in_prefix = compare(off_by(prefix=torch.tensor([-2.0, 0.0]), only_with=only_with), model, (8, 16))
    assert in_prefix.max_difference == 2.0
    assert in_prefix.min_cosine == pytest.approx(-1.0)


def test_what_is_no_number_is_not_within_any_tolerance():
    parity = compare(off_by(patches=float("nan"), only_with=2), backbone_of(PATCHES, PREFIX), (8, 16))
    assert not parity.within(float("inf"))
    assert compare(off_by(patches=0.25), backbone_of(PATCHES, PREFIX), (8, 16)).within(0.25)


# ---------------------------------------------------------------------------------------------------- writing

ONE_BLOCK = {"depth": 1, "embed_dim": 32, "num_heads": 2, "mlp_ratio": 2}


@pytest.mark.parametrize("stage", ["write", "open"])
def test_an_interrupt_leaves_nothing(stage, model, tmp_path, monkeypatch):
    way = run._WAYS[ExportFormat.torch_export]

    def half(fixed, info, path):
        path.write_text("half")
        raise KeyboardInterrupt

    def interrupted(path):
        assert path.exists() and path.parent.parent == tmp_path
        raise KeyboardInterrupt

    broken = run._Way(half, way.open) if stage == "write" else run._Way(way.write, interrupted)
    monkeypatch.setitem(run._WAYS, ExportFormat.torch_export, broken)
    with pytest.raises(KeyboardInterrupt):
        export_model(model(architecture=ONE_BLOCK), tmp_path / "m.pt2")
    assert list(tmp_path.iterdir()) == []


def test_weights_that_changed_on_the_way_are_noticed_and_an_older_export_stays(model, tmp_path, monkeypatch):
    path = tmp_path / "m.pt2"
    path.write_text("an older export")
    way = run._WAYS[ExportFormat.torch_export]

    def wrong(fixed, info, path):
        fixed.mean += 0.01
        return way.write(fixed, info, path)

    monkeypatch.setitem(run._WAYS, ExportFormat.torch_export, run._Way(wrong, way.open))
    with pytest.raises(
        ParityError, match=r"was not written: .*largest difference .*; tolerance 0\.001\. Give a larger"
    ):
        export_model(model(architecture=ONE_BLOCK), path, tolerance=0.001)
    assert [file.read_text() for file in tmp_path.iterdir()] == ["an older export"]


def test_a_crash_between_two_files_leaves_no_pair_that_does_not_match(tmp_path, monkeypatch):
    """Of an older export the file that makes it count goes before the other is replaced."""
    aside, place = tmp_path / "aside" / "m", tmp_path / "m"
    for folder, content in ((aside, "new"), (place, "old")):
        folder.mkdir(parents=True)
        (folder / "weights").write_text(content), (folder / "config").write_text(content)
    names = [Path("m/weights"), Path("m/config")]
    really = run.move_into_place

    def crash(temp, path):
        if path.name == "config":
            raise KeyboardInterrupt
        really(temp, path)

    monkeypatch.setattr(run, "move_into_place", crash)
    with pytest.raises(KeyboardInterrupt):
        run._move(names, tmp_path / "aside", tmp_path)
    assert {file.name: file.read_text() for file in place.iterdir()} == {"weights": "new"}


def test_a_full_disk_is_said_before_the_work(model, tmp_path, monkeypatch):
    monkeypatch.setattr(run.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    with pytest.raises(DiskError, match=r"no space to write .*m\.pt2: it takes \d+ bytes, 1000 are free"):
        export_model(model(), tmp_path / "m.pt2")


def test_a_place_that_cannot_be_written(model, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DiskError, match="cannot write"):
        export_model(model(), tmp_path / "file" / "m.pt2")


def test_the_size_is_checked(model, tmp_path):
    with pytest.raises(GeometryError, match="height 50 does not divide"):
        export_model(model(), tmp_path / "m.onnx", image_hw=(50, 64))
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------------------------------------------- names and formats


@pytest.mark.parametrize(
    ("out", "wanted", "kind"),
    [
        ("m.onnx", "auto", "onnx"),
        ("v1.2/m.pt2", "auto", "torch_export"),
        ("folder", "auto", "safetensors"),
        ("here", "auto", "safetensors"),
        ("here.onnx", "safetensors", "safetensors"),
        ("v1.2", "safetensors", "safetensors"),
    ],
)
def test_the_format_is_in_the_name(out, wanted, kind, tmp_path):
    (tmp_path / "here").mkdir()
    assert resolve_format(tmp_path / out, ExportFormat(wanted)) == ExportFormat(kind)


@pytest.mark.parametrize(
    ("out", "wanted", "text"),
    [
        ("m.bin", "auto", r"ends in \.bin: give a name that ends in \.onnx or \.pt2, or a folder"),
        ("m.safetensors", "auto", r"ends in \.safetensors: .*or a folder for safetensors"),
        ("m.pt2", "onnx", r"format=onnx writes one file, give a name that ends in \.onnx"),
        ("m", "torch_export", r"format=torch_export writes one file, give a name that ends in \.pt2"),
        ("folder.onnx", "auto", r"folder\.onnx is a folder: format=onnx writes one file"),
        ("file", "auto", r"file is a file: format=safetensors writes a folder"),
    ],
)
def test_names_that_do_not_go_with_the_format(out, wanted, text, tmp_path):
    (tmp_path / "folder.onnx").mkdir(), (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=text):
        resolve_format(tmp_path / out, ExportFormat(wanted))


@pytest.mark.parametrize("package", ["onnx", "onnxruntime", "onnxscript"])
def test_a_missing_extra_is_named(package, model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=rf"format=onnx needs {package}: pip install 'denoising-vit\[onnx\]'"):
        export_model(model(), tmp_path / "m.onnx")
    assert resolve_format("m.pt2") is ExportFormat.torch_export


def test_options_that_do_not_exist(model, tmp_path):
    with pytest.raises(ConfigError, match=r"format=tflite does not exist\. Give one of auto, onnx"):
        export_model(model(), tmp_path / "m", "tflite")
    for tolerance in (-1.0, float("nan")):
        with pytest.raises(ConfigError, match="give 0 or more"):
            export_model(model(), tmp_path / "m.onnx", tolerance=tolerance)


def test_weights_with_nan_are_named_instead_of_a_large_difference(model, tmp_path):
    damaged = model()
    state = damaged.state_dict()
    name = [key for key in state if key.endswith("blocks.1.attn.qkv.weight")][-1]
    state[name][0, 0] = float("nan")
    with pytest.raises(WeightsError, match=f"NaN or infinity in 1 weights, the first is {name}"):
        export_model(damaged, tmp_path / "m.pt2")
    assert not list(tmp_path.iterdir())
