"""What users give for a ViT of any source: colours, blocks, folders, weights, modules that are shared."""

import sys

import pytest
import torch
from hub_vits import HUBCONF, far_from_zero, saved
from torch import nn

import dvt
from dvt.backbone.config import BackboneConfig
from dvt.cli.store_backbone import StoreBackboneConfig
from dvt.cluster.worker import Job
from dvt.decomposition.quality import load_quality
from dvt.decomposition.run_list import ListOptions
from dvt.diagnosis.layers import BackboneLayers
from dvt.errors import BackboneError, ConfigError, WeightsError
from dvt.weights.folder import save_model
from dvt.weights.info import ModelInfo

GREY = [0.1, 0.2, 0.3]


def published(backbone, folder):
    """A folder of the ViT itself, as distillation writes it."""
    reader = backbone.reader
    info = ModelInfo(kind="distilled", spec=backbone.spec, base_license=None, made_from=reader.made_from)
    save_model(folder, backbone.vit.state_dict(), info)
    return folder


@pytest.fixture
def single(tmp_path, monkeypatch):
    """A function that returns the same module at each call."""
    text = "from torch import nn\n\nnet = nn.Conv2d(3, 4, 8, 8)\nnet.patch = 8\n\n\ndef build():\n    return net\n"
    (tmp_path / "mine_single.py").write_text(text)
    (tmp_path / "mine_broken.py").write_text("def build(:\n")
    (tmp_path / "mine_options.py").write_text(
        "from torch import nn\n\n\ndef build():\n    net = nn.Conv2d(3, 4, 8, 8)\n"
        "    net.patch, net.mean = 8, 0.5\n    return net\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield "module:mine_single:build"
    for name in ("mine_single", "mine_options"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("name", ["vit_micro", "module"])
def test_a_folder_keeps_the_colours_that_were_given(name, single, tmp_path):
    backbone = dvt.load_backbone(single if name == "module" else name, mean=GREY, device="cpu")
    model, _ = dvt.load_denoised(weights=published(backbone, tmp_path / "out"), device="cpu")
    x = torch.rand(1, 3, *backbone.grid.image_hw)
    assert torch.equal(model(x).patches, backbone(x).patches)
    assert dvt.load_backbone("vit_micro", device="cpu").reader.made_from == {}


def test_a_module_that_is_returned_twice_is_copied(single):
    first, x = dvt.load_backbone(single, device="cpu"), torch.rand(1, 3, 64, 64)
    before = first(x).patches
    zeros = {name: torch.zeros_like(tensor) for name, tensor in first.vit.state_dict().items()}
    dvt.load_backbone(single, weights=zeros, device="cpu")
    assert torch.equal(first(x).patches, before)


def test_colours_are_a_part_of_what_features_are():
    stem = nn.Conv2d(3, 4, 8, stride=8)
    plain, grey = (dvt.wrap_backbone(stem, patch=8, mean=mean, device="cpu") for mean in (None, GREY))
    assert plain.spec != grey.spec


def test_a_module_without_parameters():
    backbone = dvt.wrap_backbone(nn.AvgPool2d(8), patch=8, device="cpu")
    assert backbone(torch.rand(1, 3, 64, 64)).patches.shape == (1, 8, 8, 3) and str(backbone.precision) == "fp32"


@pytest.mark.other_types
@pytest.mark.parametrize("layer", ["last", None, 1.5, [1.5], ["a"], True, []])
def test_what_is_no_block(layer):
    with pytest.raises(ConfigError, match=r"backbone.layer=.*: give the number of a block, or several"):
        dvt.load_backbone("vit_micro", layer=layer, device="cpu")


@pytest.mark.other_types
@pytest.mark.parametrize("option", ["mean", "std"])
@pytest.mark.parametrize("value", [0.5, "abc", ["a", "b", "c"], [float("nan")] * 3, [1.0]])
def test_what_is_no_colour(option, value):
    with pytest.raises(ConfigError, match=f"{option}=.*: give three numbers"):
        dvt.load_backbone("vit_micro", device="cpu", **{option: value})
    with pytest.raises(ConfigError, match=f"{option}=.*: give three numbers"):
        dvt.wrap_backbone(nn.Conv2d(3, 4, 8, stride=8), patch=8, device="cpu", **{option: value})


@pytest.mark.other_types
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"patch": "8"}, "patch='8': give a whole number"),
        ({"patch": 0}, "patch=0: give a whole number"),
        ({"num_prefix_tokens": -1}, "num_prefix_tokens=-1: give a whole number"),
        ({"blocks": "weightless"}, "blocks='weightless' has no blocks in it"),
    ],
)
def test_what_does_not_describe_a_module(options, said):
    network = nn.Sequential(nn.Conv2d(3, 4, 8, stride=8))
    network.add_module("weightless", nn.Identity())
    with pytest.raises(BackboneError, match=said):
        dvt.wrap_backbone(network, **{"patch": 8, **options}, device="cpu")
    with pytest.raises(BackboneError, match=r"is of type function, not a torch.nn.Module"):
        dvt.wrap_backbone(lambda x: x, patch=8, name="mine", device="cpu")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (":build", "was not found"),
        (".x:build", "was not found"),
        ("mine_broken:build", "the import of mine_broken raised SyntaxError"),
    ],
)
def test_functions_that_cannot_be_imported(name, said, single):
    with pytest.raises(BackboneError, match=said):
        dvt.load_backbone(f"module:{name}", device="cpu")
    with pytest.raises(ConfigError, match=r"mean=0\.5: give three numbers"):
        dvt.load_backbone("module:mine_options:build", device="cpu")


def test_a_source_that_would_have_no_effect():
    for config in (BackboneConfig(source="transformers"), StoreBackboneConfig(source="transformers")):
        with pytest.raises(ConfigError, match=r"backbone.source=transformers needs backbone.name: a repository"):
            _ = config.full_name
    with pytest.raises(ConfigError, match=r"backbone.source=open_clip and backbone.timm=x"):
        _ = BackboneConfig(source="open_clip", timm="x").full_name


def test_local_folders_have_one_name_and_workers_find_them(tmp_path, monkeypatch):
    (tmp_path / "vit").mkdir()
    monkeypatch.chdir(tmp_path)
    for name in ("vit", "./vit", str(tmp_path / "vit")):
        config = BackboneConfig(source="transformers", name=name)
        assert config.full_name == f"transformers:{tmp_path / 'vit'}"
        job = Job(backbone=config, device="cpu", store="s", config=load_quality("tiny"), options=ListOptions())
        assert job.backbone.name == str(tmp_path / "vit") and job.backbone.full_name == config.full_name
    hub = BackboneConfig(source="torch_hub", name="vit:small")
    assert hub.full_name == f"torch_hub:{tmp_path / 'vit'}:small"
    assert BackboneConfig(source="torch_hub", name="a/b:main:small").full_name == "torch_hub:a/b:main:small"


def test_code_of_a_hub_that_is_trusted(tmp_path, monkeypatch):
    load = torch.hub.load

    def local(repository, function, **options):
        options.pop("trust_repo", None)
        return load(str(tmp_path), function, source="local", **options)

    monkeypatch.setattr(torch.hub, "load", local)
    (tmp_path / "hubconf.py").write_text(HUBCONF.format(name="vit_small_patch16_224", weights="none.pth"))
    name, trusted = "torch_hub:someone/repository:small_vit", {"device": "cpu", "trust_remote_code": True}
    backbone = dvt.load_backbone(name, weights="random", image_size=64, **trusted)
    folder = published(backbone, tmp_path / "out")
    model, _ = dvt.load_denoised(weights=folder, **trusted)
    x = torch.rand(1, 3, 64, 64)
    assert torch.equal(model(x).patches, backbone(x).patches)
    with pytest.raises(BackboneError, match="runs the code of someone/repository"):
        dvt.load_denoised(weights=folder, device="cpu")
    dvt.export_model(backbone, tmp_path / "fixed")
    fixed = dvt.load_fixed_size(tmp_path / "fixed", trust_remote_code=True)
    torch.testing.assert_close(fixed(x)[0], backbone(x).patches)


def test_of_several_blocks_the_doctor_judges_the_last():
    backbone = dvt.load_backbone("vit_micro", layer=[1, 5], image_size=64, device="cpu")
    alone = dvt.load_backbone("vit_micro", image_size=64, device="cpu")
    x = torch.rand(1, 3, 64, 64)
    assert torch.equal(BackboneLayers(backbone)(x)[-1], alone(x).patches)


@pytest.mark.sources
@pytest.mark.parametrize("kind", ["Dinov2Model", "DINOv3ViTModel", "ViTModel", "DeiTModel", "SiglipModel", "CLIPModel"])
def test_a_file_of_transformers_as_it_is_on_the_disk(kind, tmp_path):
    saved(kind, tmp_path)
    name = f"transformers:{tmp_path}"
    of_folder = dvt.load_backbone(name, device="cpu")
    of_file = dvt.load_backbone(name, weights=tmp_path / "model.safetensors", device="cpu")
    assert of_file.weights_hash == of_folder.weights_hash


@pytest.mark.sources
def test_a_file_of_another_depth_does_not_fit(tmp_path):
    import transformers as hf

    shape = {"hidden_size": 64, "num_attention_heads": 4, "patch_size": 14, "image_size": 56, "intermediate_size": 64}
    for depth in (2, 3):
        network = far_from_zero(hf.ViTModel(hf.ViTConfig(num_hidden_layers=depth, **shape)))
        network.save_pretrained(tmp_path / str(depth))
    for depth, other in ((2, 3), (3, 2)):
        with pytest.raises(WeightsError, match="does not fit"):
            dvt.load_backbone(
                f"transformers:{tmp_path / str(depth)}",
                weights=tmp_path / str(other) / "model.safetensors",
                device="cpu",
            )


@pytest.mark.sources
def test_a_vit_for_grey_images(tmp_path):
    import transformers as hf

    hf.ViTModel(
        hf.ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, num_channels=1)
    ).save_pretrained(tmp_path)
    with pytest.raises(BackboneError, match="it takes 1 channels, not RGB"):
        dvt.load_backbone(f"transformers:{tmp_path}", device="cpu")


def test_of_teacher_and_student_the_teacher_is_taken():
    torch.manual_seed(0)
    stem = nn.Conv2d(3, 4, 8, stride=8)
    backbone = dvt.wrap_backbone(stem, patch=8, device="cpu")
    parts = {"student": 1.0, "teacher": 2.0}
    state = {
        f"{part}.{name}": torch.full_like(tensor, value)
        for part, value in parts.items()
        for name, tensor in stem.state_dict().items()
    }
    backbone.reader.fill(state, source="a training")
    assert float(stem.bias[0]) == 2.0


@pytest.mark.sources
@pytest.mark.export
def test_what_onnx_cannot_say(tmp_path):
    saved("Siglip2VisionModel", tmp_path / "vit")
    backbone = dvt.load_backbone(f"transformers:{tmp_path / 'vit'}", device="cpu")
    with pytest.raises(ConfigError, match=r"torch.onnx does not convert transformers:.*torch_export or safetensors"):
        dvt.export_model(backbone, tmp_path / "a.onnx")
