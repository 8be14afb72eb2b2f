"""`dvt export` writes a file that computes what PyTorch computes, or says why not."""

import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from dvt.backbone.load import load_backbone
from dvt.cli.export import Options
from dvt.denoiser.config import DenoiserConfig
from dvt.denoiser.denoised import DenoisedBackbone
from dvt.denoiser.network import Denoiser
from dvt.export.weights_folder import load_fixed_size
from dvt.options import option_paths
from dvt.weights.folder import read_model_info, write_model_folder
from dvt.weights.info import ModelInfo

pytestmark = pytest.mark.export

TINY = ("backbone.timm=vit_tiny_patch16_224", "backbone.weights=random", "backbone.image_size=[64,96]")
SHALLOW = "backbone.layer=0"  # one block: the graph is made in a moment


@pytest.fixture
def images():
    return torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))


def test_onnx(dvt, tmp_path, images):
    import onnxruntime

    result = dvt("export", *TINY, SHALLOW, "out=new folder/model.onnx")
    assert result.code == 0, result.err
    first, takes, gives, parity = result.out.splitlines()
    assert first.startswith("new folder/model.onnx   ") and first.endswith("MiB, onnx")
    assert takes == "takes   images (B, 3, 64, 96) float32 RGB in [0, 1], not normalised"
    assert gives == "gives   patches (B, 4, 6, 192), prefix (B, 1, 192)"
    assert parity.startswith("parity  largest difference ") and parity.endswith("; tolerance 0.001")
    assert "vit_tiny_patch16_224" in result.err and "4 x 6 patches" in result.err

    session = onnxruntime.InferenceSession(tmp_path / "new folder/model.onnx", providers=["CPUExecutionProvider"])
    patches, _ = session.run(None, {"images": images.numpy()})
    backbone = load_backbone("vit_tiny_patch16_224", weights="random", image_size=[64, 96], layer=0, device="cpu")
    torch.testing.assert_close(torch.from_numpy(patches), backbone(images).patches, atol=1e-4, rtol=1e-4)


def test_above_the_tolerance_it_exits_with_1(dvt, tmp_path):
    result = dvt("export", *TINY, SHALLOW, "out=model.onnx", "tolerance=0")
    assert result.code == 1 and result.out == ""
    assert "dvt: model.onnx was not written" in result.err and "tolerance 0." in result.err
    assert list(tmp_path.iterdir()) == []


def test_a_folder(dvt, tmp_path, images):
    result = dvt("export", *TINY, SHALLOW, "out=exported")
    assert result.code == 0 and "MiB, safetensors" in result.out
    backbone = load_backbone("vit_tiny_patch16_224", weights="random", image_size=[64, 96], layer=0, device="cpu")
    patches, prefix = load_fixed_size(tmp_path / "exported")(images)
    torch.testing.assert_close(patches, backbone(images).patches)
    torch.testing.assert_close(prefix, backbone(images).prefix)


@pytest.fixture
def denoiser(tmp_path):
    """A denoiser of the tiny ViT, read at block 1 before the final norm, in the folder `denoiser`."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = Denoiser(DenoiserConfig(), 192, (4, 6))
    backbone = load_backbone("vit_tiny_patch16_224", weights="random", image_size=[64, 96], device="cpu")
    info = ModelInfo(
        kind="denoiser",
        spec=replace(backbone.spec, layer=1, norm=False),
        architecture=asdict(made.config),
        training={},
        metrics={},
        base_license=None,
        code_version="0",
    )
    write_model_folder(tmp_path / "denoiser", made.state_dict(), info)
    return made.eval()


def test_with_a_denoiser_at_another_size(dvt, denoiser):
    result = dvt("export", *TINY[:2], "backbone.image_size=[32,64]", "denoiser=denoiser", "out=clean.pt2")
    assert result.code == 0, result.err
    assert "patches (B, 2, 4, 192)" in result.out and "+denoiser" in result.err
    backbone = load_backbone("vit_tiny_patch16_224", "random", [32, 64], layer=1, norm=False, device="cpu")
    small = torch.rand(1, 3, 32, 64, generator=torch.Generator().manual_seed(4))
    expected = DenoisedBackbone(backbone, denoiser)(small)
    patches, prefix = torch.export.load("clean.pt2").module()(small)
    torch.testing.assert_close(patches, expected.patches)
    torch.testing.assert_close(prefix, expected.prefix)


def test_raw_features_as_well(dvt, denoiser):
    result = dvt("export", *TINY[:2], "backbone.image_size=[32,64]", "denoiser=denoiser", "out=both.pt2", "raw=true")
    assert result.code == 0 and "prefix (B, 1, 192), raw (B, 2, 4, 192)" in result.out, result.err
    assert len(torch.export.load("both.pt2").module()(torch.rand(1, 3, 32, 64))) == 3


def test_the_size_of_the_denoiser_is_the_default(dvt, denoiser):
    assert "(B, 3, 64, 96)" in dvt("export", *TINY[:2], "denoiser=denoiser", "out=clean").out
    exported = read_model_info("clean")
    assert (exported.spec.layer, exported.spec.norm, exported.spec.grid.hw) == (1, False, (4, 6))


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["backbone.layer=5"], "denoiser was trained on layer 1 before the final norm: leave out backbone.layer"),
        (["backbone.timm=deit_tiny_patch16_224"], "does not belong to this backbone"),
        (["denoiser=nowhere"], "nowhere"),
    ],
)
def test_a_denoiser_that_does_not_fit(dvt, denoiser, options, part):
    result = dvt("export", *TINY, "denoiser=denoiser", "out=clean.pt2", *options)
    assert result.code == 2 and part in result.err, result.err
    assert not Path("clean.pt2").exists()


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ([], "dvt export needs out=..."),
        (["out=model.bin"], "ends in .bin"),
        (["out=model.onnx", "format=torch_export"], "give a name that ends in .pt2"),
        (["out=model.onnx", "format=tflite"], "format=tflite: give one of auto, onnx, torch_export, safetensors"),
        (["out=model.onnx", "tolerance=low"], "tolerance=low: give a number or null"),
        (["out=model.pt2", "tolerance=-1"], "tolerance=-1.0: give 0 or more"),
        (["out=model.pt2", "quality=fast"], "there is no option 'quality'"),
        (["out=model.pt2", "backbone.precision=bf16"], "Load it with precision=fp32"),
        (["out=model.pt2", "backbone.image_size=65"], "height 65 does not divide"),
        (["out=model.pt2", "raw=true"], "no denoiser"),
        (["out="], "out= is empty"),
    ],
)
def test_wrong_use_is_explained(dvt, tmp_path, options, part):
    result = dvt("export", *TINY, *options)
    assert result.code == 2 and result.out == "" and part in result.err, result.err
    assert list(tmp_path.iterdir()) == []


def test_a_missing_extra_is_said_before_the_backbone_is_loaded(dvt, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setattr("dvt.backbone.load.load_from_config", None)
    result = dvt("export", *TINY, "out=model.onnx")
    assert result.code == 2 and "pip install 'denoising-vit[onnx]'" in result.err


def test_its_page(dvt):
    page = dvt("export", "--help").out
    for name in option_paths(Options):
        assert name == "backbone" or f"  {name}=" in page, name
    assert "dinov2_base" in page and "quality" not in page
    assert all(len(line) <= 120 for line in page.splitlines())


def test_its_page_needs_no_heavy_imports():
    code = (
        "import sys; from dvt.cli.main import run; run(['export', '--help'])\n"
        "print(*(name for name in ('torch', 'onnx', 'onnxruntime', 'hydra') if name in sys.modules), file=sys.stderr)"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stderr == "\n"


def test_an_export_does_not_replace_what_was_trained(dvt, denoiser, tmp_path):
    before = (tmp_path / "denoiser/weights.safetensors").read_bytes()
    result = dvt("export", *TINY, "denoiser=denoiser", "out=denoiser")
    assert result.code == 2 and "out=denoiser holds a denoiser, which the export would replace" in result.err
    assert (tmp_path / "denoiser/weights.safetensors").read_bytes() == before
