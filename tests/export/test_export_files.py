"""The written files, run by ONNX Runtime and by PyTorch alone, against the backbone."""

import json
import subprocess
import sys
import zipfile

import numpy as np
import onnxruntime
import pytest
import torch

from dvt.backbone.load import load_backbone
from dvt.denoiser.config import DenoiserConfig
from dvt.denoiser.denoised import DenoisedBackbone
from dvt.denoiser.network import Denoiser
from dvt.errors import ConfigError, WeightsError
from dvt.export import graph_files
from dvt.export.run import export_model
from dvt.export.weights_folder import load_fixed_size
from dvt.weights.info import parse_config

pytestmark = pytest.mark.export

OF_THIS_MACHINE = (b"site-packages", b"fixed_size.py", b"/dvt/")


def session(path):
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def assert_close(patches, prefix, expected):
    torch.testing.assert_close(torch.as_tensor(patches), expected.patches, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(torch.as_tensor(prefix), expected.prefix, atol=1e-4, rtol=1e-4)


# ---------------------------------------------------------------------------------------------------- ONNX

ONE_BLOCK = {"depth": 1, "embed_dim": 32, "num_heads": 2, "mlp_ratio": 2}
FAMILIES = [
    ("vit_small_patch14_reg4_dinov2", {}),
    ("eva02_base_patch16_clip_224", {"denoised": False}),
    ("vit_base_patch16_siglip_512", {"image_hw": (64, 96)}),
    ("vit_small_patch16_dinov3", {"stride": 8}),
    ("vit_small_patch16_rope_mixed_224", {"layer": 0, "norm": False}),
    ("vit_tiny_patch16_224", {"kind": "conv3x3"}),
]


def check_onnx(backbone, path, images):
    exported = export_model(backbone, path)
    height, width = backbone.grid.image_hw
    assert exported.parity.batch_sizes == (1, 2) and 0 < exported.parity.max_difference < 1e-4
    assert exported.num_bytes == path.stat().st_size
    for count in (1, 3):
        views = images(count, height, width)
        patches, prefix = session(path).run(None, {"images": views.numpy()})
        assert_close(patches, prefix, backbone(views))
    return exported


def test_onnx(model, tmp_path, images):
    backbone, path = model(image_hw=(64, 96), architecture=ONE_BLOCK), tmp_path / "new folder" / "model.onnx"
    exported = check_onnx(backbone, path, images)
    assert [file.name for file in path.parent.iterdir()] == ["model.onnx"]

    found = session(path)
    (taken,), (patches, prefix) = found.get_inputs(), found.get_outputs()
    assert (taken.name, taken.type, taken.shape) == ("images", "tensor(float)", ["batch", 3, 64, 96])
    assert (patches.name, patches.shape) == ("patches", ["batch", 4, 6, 32])
    assert (prefix.name, prefix.shape) == ("prefix", ["batch", 1, 32])
    text = found.get_modelmeta().custom_metadata_map["dvt"]
    info = parse_config(text, "dvt")[0]
    assert info == exported.info
    assert (info.kind, info.spec.layer, info.spec.norm, info.spec.grid) == ("fixed_size", 0, True, backbone.grid)
    assert info.architecture["head_channels"] == 16
    assert not any(part in path.read_bytes() for part in OF_THIS_MACHINE)


def test_onnx_of_a_denoiser_with_semantic_tokens(model, tmp_path, images):
    backbone = model(image_hw=(64, 96), kind="semantic_tokens", architecture=ONE_BLOCK)
    exported = check_onnx(backbone, tmp_path / "model.onnx", images)
    assert exported.info.architecture["kind"] == "semantic_tokens"
    views = images(2, 64, 96)
    assert (backbone(views).patches - backbone.backbone(views).patches).abs().max() > 0.1  # it does something


def test_onnx_with_raw_features_as_well(model, tmp_path, images):
    backbone, path = model(image_hw=(64, 96), layers=(0,)), tmp_path / "model.onnx"
    exported = export_model(backbone, path, raw=True)
    found, views = session(path), images(3, 64, 96)
    assert [each.name for each in found.get_outputs()] == ["patches", "prefix", "raw"] and exported.gives_raw
    patches, prefix, raw = found.run(None, {"images": views.numpy()})
    assert_close(patches, prefix, backbone(views))
    assert_close(raw, prefix, backbone.backbone(views))
    assert abs(raw - patches).max() > 0.1


def test_raw_features_are_refused_where_there_are_none(model, tmp_path):
    with pytest.raises(ConfigError, match="no denoiser"):
        export_model(model(denoised=False), tmp_path / "model.onnx", raw=True)
    with pytest.raises(ConfigError, match="holds ViT and denoiser apart"):
        export_model(model(), tmp_path / "folder", raw=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(("timm_name", "more"), FAMILIES, ids=[name for name, _ in FAMILIES])
def test_onnx_of_every_family(timm_name, more, model, tmp_path, images, caplog):
    check_onnx(model(timm_name, **more), tmp_path / "m.onnx", images)
    assert "constant folding" not in caplog.text


def test_onnx_with_weights_that_are_too_large_for_one_file(model, tmp_path, images, monkeypatch):
    monkeypatch.setattr(graph_files, "ONE_FILE_BYTES", 1000)
    backbone = model(denoised=False, architecture=ONE_BLOCK)
    (tmp_path / "m.onnx").write_text("an older one")
    exported = export_model(backbone, tmp_path / "m.onnx")
    weights = tmp_path / "m.onnx.data"
    assert sorted(tmp_path.iterdir()) == [tmp_path / "m.onnx", weights]
    assert exported.num_bytes == weights.stat().st_size + exported.path.stat().st_size
    views = images(2, 48, 80)
    assert_close(*session(exported.path).run(None, {"images": views.numpy()}), backbone(views))


# ---------------------------------------------------------------------------------------------------- torch.export


@pytest.mark.parametrize(
    ("timm_name", "more"),
    [
        ("vit_small_patch16_dinov3", {"stride": 8, "architecture": ONE_BLOCK}),
        ("vit_base_patch16_siglip_512", {"denoised": False, "architecture": ONE_BLOCK}),
        ("vit_tiny_patch16_224", {"kind": "semantic_tokens", "architecture": ONE_BLOCK}),
    ],
)
def test_torch_export(timm_name, more, model, tmp_path, images):
    backbone, path = model(timm_name, **more), tmp_path / "m.pt2"
    exported = export_model(backbone, path)
    assert list(tmp_path.iterdir()) == [path]
    extra = {"dvt.json": ""}
    module = torch.export.load(path, extra_files=extra).module()
    assert parse_config(extra["dvt.json"], "dvt.json")[0] == exported.info
    for count in (1, 2, 5):
        views = images(count, *backbone.grid.image_hw)
        assert_close(*module(views), backbone(views))
    with zipfile.ZipFile(path) as archive:
        texts = b"".join(archive.read(name) for name in archive.namelist() if name.endswith(".json"))
    assert len(texts) > 1000 and not any(part in texts for part in OF_THIS_MACHINE)


@pytest.mark.slow
def test_torch_export_needs_pytorch_alone(model, tmp_path, images):
    backbone, views = model(), images(3, 48, 80)
    export_model(backbone, tmp_path / "m.pt2")
    np.save(tmp_path / "views.npy", views.numpy())
    code = (
        "import sys; sys.modules.update(dvt=None, timm=None)\n"
        "import numpy as np, torch\n"
        "patches, prefix = torch.export.load('m.pt2').module()(torch.from_numpy(np.load('views.npy')))\n"
        "np.savez('got.npz', patches=patches.numpy(), prefix=prefix.numpy())"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
    with np.load(tmp_path / "got.npz") as got:
        assert_close(got["patches"], got["prefix"], backbone(views))


# ---------------------------------------------------------------------------------------------------- safetensors


@pytest.fixture(scope="module")
def whole():
    """A ViT whose architecture its name tells, with a denoiser."""
    backbone = load_backbone("vit_tiny_patch16_224", weights="random", image_size=[64, 96], layer=3, device="cpu")
    return DenoisedBackbone(backbone, Denoiser(DenoiserConfig(), backbone.num_channels, (4, 4)))


@pytest.mark.parametrize("denoised", [True, False])
def test_safetensors_are_all_that_is_needed(denoised, whole, tmp_path, images):
    backbone = whole if denoised else whole.backbone
    exported = export_model(backbone, tmp_path / "m")
    assert sorted(file.name for file in tmp_path.glob("*/*")) == ["config.json", "weights.safetensors"]
    config = json.loads((tmp_path / "m/config.json").read_text())
    assert (config["kind"], config["layer"], config["grid"]["image_hw"]) == ("fixed_size", 3, [64, 96])
    assert config["backbone"] == "vit_tiny_patch16_224.augreg_in21k_ft_in1k"
    assert exported.parity.max_difference < 1e-5
    views = images(2, 64, 96)
    assert_close(*load_fixed_size(tmp_path / "m")(views), backbone(views))


def test_safetensors_replace_an_older_export(whole, tmp_path, images):
    export_model(whole, tmp_path / "m", image_hw=(32, 32))
    (tmp_path / "m/README.md").write_text("mine")
    export_model(whole, tmp_path / "m", image_hw=(48, 48))
    assert load_fixed_size(tmp_path / "m").grid.hw == (3, 3)
    assert (tmp_path / "m/README.md").read_text() == "mine"
    assert list(tmp_path.iterdir()) == [tmp_path / "m"]


def test_damaged_safetensors_are_refused(whole, tmp_path):
    export_model(whole, tmp_path / "m", image_hw=(32, 32))
    weights = tmp_path / "m/weights.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(WeightsError, match=r"weights\.safetensors"):
        load_fixed_size(tmp_path / "m")


def test_an_architecture_that_no_name_tells_is_refused(model, tmp_path):
    """What could not be rebuilt is not written."""
    with pytest.raises(WeightsError, match="does not fit the model"):
        export_model(model(denoised=False), tmp_path / "m", "safetensors")
    assert list(tmp_path.iterdir()) == []
