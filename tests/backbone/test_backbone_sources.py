"""ViTs of transformers, OpenCLIP, torch.hub and any module: the tokens of their own code, and of timm's."""

import copy
import re
import sys
from pathlib import Path

import pytest
import timm
import torch
from hub_vits import HUBCONF, TINY_CLIP, far_from_zero, kinds, saved, tiny_clip
from noise import write_noise
from torch import nn

import dvt
from dvt.backbone.backbone import Backbone, Readout
from dvt.backbone.names import joined_name, split_name
from dvt.backbone.sources.timm_build import build_vit
from dvt.backbone.sources.timm_reader import TimmReader
from dvt.backbone.vit import facts_of, make_reader
from dvt.backbone.weights import load_weights
from dvt.errors import BackboneError, ConfigError, DvtError, WeightsError
from dvt.runtime import Precision

KINDS = (
    "Dinov2Model", "Dinov2WithRegistersModel", "DINOv3ViTModel", "ViTModel", "ViTForImageClassification", "DeiTModel",
    "ViTMAEModel", "IJepaModel", "CLIPVisionModel", "CLIPModel", "SiglipVisionModel", "SiglipModel",
    "Siglip2VisionModel",
)  # fmt: skip
SAME = {"depth": 2, "embed_dim": 64, "num_heads": 4, "mlp_ratio": 4, "patch_size": 14, "img_size": 56}


def of_timm(timm_name, state, colours):
    """The same ViT in timm, with the weights of a file of another library."""
    vit = build_vit(timm_name, **SAME)
    reader = TimmReader(vit)
    load_weights(reader, state)
    readout = Readout.of(reader.facts, (56, 56), None, -1, True)
    backbone = Backbone(reader, readout, name="timm", weights_hash="0", precision=Precision.fp32)
    backbone.mean, backbone.std = colours
    return backbone


@pytest.mark.sources
@pytest.mark.parametrize("kind", KINDS)
def test_a_model_of_transformers_gives_the_tokens_of_its_own_forward_pass(kind, tmp_path, images):
    theirs = saved(kind, tmp_path)
    backbone = dvt.load_backbone(f"transformers:{tmp_path}", device="cpu")
    assert backbone.full_name == f"transformers:{tmp_path}" and backbone.name == backbone.full_name
    x = images(2, 56, 56)
    features = backbone(x)
    assert features.patches.shape == (2, 4, 4, 64) and features.grid.patch == 14
    last = backbone.forward_layers(x, [0])
    assert [each.patches.shape for each in last] == [(2, 4, 4, 64)] * 2
    assert not torch.allclose(last[0].patches, last[1].patches)
    inner = getattr(theirs.network, "vision_model", getattr(theirs.network, "vit", theirs.network))
    normalised = (x - backbone.mean) / backbone.std
    if kind not in ("ViTMAEModel", "Siglip2VisionModel"):  # they shuffle patches, or take them instead of images
        tokens = inner(pixel_values=normalised).last_hidden_state
        if hasattr(inner, "post_layernorm") and "CLIP" in kind:
            tokens = inner.post_layernorm(tokens)  # theirs is for the pooled token alone
        torch.testing.assert_close(torch.cat((features.prefix, features.patches.flatten(1, 2)), 1), tokens)


@pytest.mark.sources
@pytest.mark.parametrize(
    "kind", [kind for kind in KINDS if kind not in ("DINOv3ViTModel", "IJepaModel", "Siglip2VisionModel")]
)
def test_the_same_weights_in_timm_give_the_same_patches(kind, tmp_path, images):
    theirs = saved(kind, tmp_path)
    backbone = dvt.load_backbone(str(tmp_path), source="transformers", device="cpu")
    ours = of_timm(theirs.timm, tmp_path / "model.safetensors", (backbone.mean, backbone.std))
    x = images(2, 56, 56)
    assert (backbone(x).patches - ours(x).patches).abs().max() < 1e-5 * backbone(x).patches.abs().max().clamp_min(1)
    assert ours.num_prefix_tokens == backbone.num_prefix_tokens


@pytest.mark.sources
@pytest.mark.parametrize("kind", KINDS)
def test_other_sizes_resample_the_positions_as_the_library_does(kind, tmp_path, images):
    theirs = saved(kind, tmp_path)
    backbone = dvt.load_backbone(f"transformers:{tmp_path}", device="cpu")
    x = images(1, 42, 84)
    assert backbone(x).patches.shape == (1, 3, 6, 64)
    inner = getattr(theirs.network, "vision_model", getattr(theirs.network, "vit", theirs.network))
    if kind.startswith(("Dinov2", "DINOv3")):
        tokens = inner(pixel_values=(x - backbone.mean) / backbone.std).last_hidden_state
        torch.testing.assert_close(backbone(x).patches.flatten(1, 2), tokens[:, backbone.num_prefix_tokens :])


@pytest.mark.sources
def test_the_processor_of_a_repository_says_the_colours(tmp_path):
    from transformers import BitImageProcessor

    saved("Dinov2Model", tmp_path)
    BitImageProcessor(image_mean=[0.1, 0.2, 0.3], image_std=[0.4, 0.5, 0.6]).save_pretrained(tmp_path)
    backbone = dvt.load_backbone(f"transformers:{tmp_path}", device="cpu")
    torch.testing.assert_close(backbone.mean.flatten(), torch.tensor([0.1, 0.2, 0.3]))
    other = dvt.load_backbone(f"transformers:{tmp_path}", mean=[0.5, 0.5, 0.5], device="cpu")
    assert other.weights_hash != backbone.weights_hash and other.mean.flatten().tolist() == [0.5, 0.5, 0.5]
    again = make_reader(backbone.full_name, made_from=backbone.reader.made_from)
    assert again.facts == backbone.reader.facts


@pytest.mark.sources
def test_a_config_alone_rebuilds_a_vit_where_its_repository_is_gone(tmp_path, images):
    saved("Dinov2WithRegistersModel", tmp_path / "there")
    backbone = dvt.load_backbone(f"transformers:{tmp_path / 'there'}", device="cpu")
    state, known = backbone.vit.state_dict(), backbone.reader.made_from
    (tmp_path / "there").rename(tmp_path / "gone")
    again = dvt.load_backbone(backbone.full_name, weights=state, made_from=known, device="cpu")
    x = images(1, 56, 56)
    assert torch.equal(again(x).patches, backbone(x).patches) and again.weights_hash == backbone.weights_hash


@pytest.mark.sources
def test_a_copy_has_tensors_of_its_own(tmp_path, images):
    saved("ViTModel", tmp_path)
    backbone = dvt.load_backbone(f"transformers:{tmp_path}", device="cpu")
    twin, x = copy.deepcopy(backbone), images(1, 56, 56)
    before = backbone(x).patches
    with torch.no_grad():
        for parameter in twin.vit.parameters():
            parameter.mul_(1.5)
    assert torch.equal(backbone(x).patches, before) and not torch.allclose(twin(x).patches, before)


@pytest.mark.sources
def test_what_transformers_has_without_a_grid_of_patches_is_refused(tmp_path):
    from transformers import SwinConfig, SwinModel

    SwinModel(
        SwinConfig(image_size=56, patch_size=4, embed_dim=16, depths=[1], num_heads=[1], window_size=7)
    ).save_pretrained(tmp_path)
    with pytest.raises(BackboneError, match="merges patches or attends in windows"):
        dvt.load_backbone(f"transformers:{tmp_path}", device="cpu")
    with pytest.raises(BackboneError, match=r"was not found .* local folder that save_pretrained wrote"):
        dvt.load_backbone(f"transformers:{tmp_path / 'nothing'}", device="cpu")


@pytest.mark.sources
def test_a_model_with_tokens_behind_the_patches_is_refused_when_it_is_loaded(tmp_path):
    from transformers import YolosConfig, YolosModel

    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    YolosModel(YolosConfig(image_size=[64, 64], num_detection_tokens=5, **sizes)).save_pretrained(tmp_path)
    with pytest.raises(BackboneError, match=r"tokens of shape \(1, 22, 16\) .* expected \(B, 17, C\)"):
        dvt.load_backbone(f"transformers:{tmp_path}", device="cpu")


@pytest.mark.sources
def test_a_repository_with_code_of_its_own_is_run_only_where_it_is_trusted(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "mine", "auto_map": {"AutoConfig": "mine.Config"}}')
    (tmp_path / "mine.py").write_text("raise SystemExit('code was run')")
    with pytest.raises(BackboneError, match="code of its own, which is run where you trust it"):
        dvt.load_backbone(f"transformers:{tmp_path}", device="cpu")


@pytest.mark.sources
def test_a_folder_that_lacks_weights_is_refused(tmp_path):
    theirs = saved("Dinov2Model", tmp_path)
    state = {
        key: tensor for key, tensor in theirs.network.state_dict().items() if not key.startswith("encoder.layer.1")
    }
    theirs.network.save_pretrained(tmp_path, state_dict=state)
    with pytest.raises(WeightsError, match=r"lacks weights of Dinov2Model: encoder.layer.1"):
        dvt.load_backbone(f"transformers:{tmp_path}", device="cpu")


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return tiny_clip(tmp_path_factory.mktemp("clip"))


@pytest.mark.sources
def test_the_image_tower_of_open_clip(clip, images):
    backbone = dvt.load_backbone(f"open_clip:{TINY_CLIP}", weights=clip.state_dict(), device="cpu")
    x = images(2, 224, 224)
    tower = copy.deepcopy(clip.visual)
    tower.output_tokens = True
    _, tokens = tower((x - backbone.mean) / backbone.std)
    torch.testing.assert_close(backbone(x).patches.flatten(1, 2), tokens, rtol=1e-5, atol=1e-5)
    assert backbone(x).prefix.shape == (2, 1, 64) and backbone(images(1, 96, 160)).patches.shape == (1, 3, 5, 64)
    with pytest.raises(WeightsError, match=f"does not fit open_clip:{TINY_CLIP}"):
        dvt.load_backbone(f"open_clip:{TINY_CLIP}", weights={"conv1.weight": torch.zeros(1)}, device="cpu")


@pytest.mark.sources
def test_open_clip_and_timm_agree(clip, images):
    theirs = dvt.load_backbone(f"open_clip:{TINY_CLIP}", weights=clip.state_dict(), device="cpu")
    vit = build_vit("vit_base_patch32_clip_224", depth=2, embed_dim=64, num_heads=4)
    reader = TimmReader(vit)
    load_weights(reader, clip.visual.state_dict())
    readout = Readout.of(reader.facts, (224, 224), None, -1, True)
    ours = Backbone(reader, readout, name="timm", weights_hash="0", precision=Precision.fp32)
    for hw in ((224, 224), (160, 256)):
        x = images(1, *hw)
        assert (ours(x).patches - theirs(x).patches).abs().max() < 1e-5 * ours(x).patches.abs().max()


@pytest.mark.sources
def test_a_tower_of_open_clip_that_norms_after_pooling_has_no_norm_on_its_tokens(tmp_path):
    import json

    import open_clip

    vision = {"image_size": 64, "layers": 2, "width": 64, "patch_size": 32, "head_width": 16}
    vision |= {"pool_type": "avg", "final_ln_after_pool": True}
    text = {"context_length": 7, "vocab_size": 50, "width": 32, "heads": 2, "layers": 1}
    (tmp_path / "dvt-late.json").write_text(json.dumps({"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}))
    open_clip.add_model_config(tmp_path / "dvt-late.json")
    with pytest.raises(BackboneError, match="has no final norm on its tokens"):
        dvt.load_backbone("open_clip:dvt-late", weights="random", device="cpu")
    backbone = dvt.load_backbone("open_clip:dvt-late", weights="random", norm=False, device="cpu")
    assert backbone(torch.rand(1, 3, 64, 64)).patches.shape == (1, 2, 2, 64)


@pytest.mark.sources
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("ViT-S-32-alt/nothing", "has no weights 'nothing' of ViT-S-32-alt. There are: none"),
        ("ViT-B-33", "has no model 'ViT-B-33'. Nearest names: ViT-B-32"),
        ("RN50", "its image tower is a ModifiedResNet"),
    ],
)
def test_what_open_clip_does_not_have(name, said):
    with pytest.raises(BackboneError, match=said):
        dvt.load_backbone(f"open_clip:{name}", weights="random", device="cpu")


@pytest.mark.sources
def test_a_model_without_weights_names_those_there_are():
    with pytest.raises(WeightsError, match=r"names no weights. Add one of OpenCLIP's to the name"):
        dvt.load_backbone("open_clip:ViT-S-32-alt", device="cpu")


@pytest.mark.parametrize("name", ["vit_small_patch14_dinov2", "vit_small_patch14_reg4_dinov2", "vit_small_patch16_224"])
def test_a_vit_of_torch_hub_in_a_local_folder(name, tmp_path, images):
    options = {"depth": 2, "embed_dim": 64, "num_heads": 4, "dynamic_img_size": True, "num_classes": 0}
    vit = far_from_zero(timm.create_model(name, **options))
    torch.save(vit.state_dict(), tmp_path / "vit.pth")
    (tmp_path / "hubconf.py").write_text(HUBCONF.format(name=name, weights=tmp_path / "vit.pth"))
    backbone = dvt.load_backbone(f"torch_hub:{tmp_path}:small_vit", image_size=112, device="cpu")
    x = images(2, 112, 112)
    tokens = vit.forward_features((x - backbone.mean) / backbone.std)
    torch.testing.assert_close(backbone(x).patches.flatten(1, 2), tokens[:, vit.num_prefix_tokens :])
    assert backbone(x).prefix.shape[1] == vit.num_prefix_tokens == facts_of(backbone.full_name).num_prefix_tokens


def test_what_torch_hub_does_not_give(tmp_path):
    (tmp_path / "hubconf.py").write_text(HUBCONF.format(name="vit_small_patch16_224", weights=tmp_path / "none.pth"))
    for function, said in {
        "nothing": "could not be made .* Cannot find callable nothing",
        "convolution": "has no patch_embed, blocks and norm",
        "number": "returned int, not a torch.nn.Module",
    }.items():
        with pytest.raises(BackboneError, match=said):
            dvt.load_backbone(f"torch_hub:{tmp_path}:{function}", device="cpu")
    with pytest.raises(WeightsError, match=r"could not be loaded .*none.pth"):
        dvt.load_backbone(f"torch_hub:{tmp_path}:small_vit", device="cpu")
    with pytest.raises(BackboneError, match="runs the code of facebookresearch/dinov2 on GitHub"):
        dvt.load_backbone("torch_hub:facebookresearch/dinov2:dinov2_vits14", device="cpu")
    with pytest.raises(BackboneError, match="give the repository and its function"):
        dvt.load_backbone("torch_hub:nothing", device="cpu")


class Tower(nn.Module):
    """Two blocks on patches of 8 px, with one class token before them."""

    patch, num_prefix_tokens, blocks, norm = 8, 1, "layers", "last"
    mean, std = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 8, stride=8)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, dropout=0.0) for _ in range(2)
        )
        self.last = nn.LayerNorm(16)

    def forward(self, images):
        tokens = self.stem(images).flatten(2).transpose(1, 2)
        tokens = torch.cat((tokens.mean(dim=1, keepdim=True), tokens), dim=1)
        for layer in self.layers:
            tokens = layer(tokens)
        return self.last(tokens)


@pytest.fixture
def factories(tmp_path, monkeypatch):
    """Functions that make modules, importable as mine_<n>; (text) -> name of the module."""

    def make(text):
        name = f"mine_{len(list(tmp_path.glob('mine_*.py')))}_{abs(hash(text)) % 10**8}"
        (tmp_path / f"{name}.py").write_text(text)
        return name

    monkeypatch.syspath_prepend(tmp_path)
    yield make
    for name in [name for name in sys.modules if name.startswith("mine_")]:
        del sys.modules[name]


def test_a_module_that_a_function_makes(factories, images):
    torch.manual_seed(0)
    text = "from test_backbone_sources import Tower\nmade = Tower()\n\n\ndef build():\n    return made\n"
    name = f"module:{factories(text)}:build"
    backbone = dvt.load_backbone(name, device="cpu")
    x = images(2, 128, 128)
    tokens = sys.modules[name.split(":")[1]].made((x - 0.5) / 0.25)
    torch.testing.assert_close(backbone(x).patches.flatten(1, 2), tokens[:, 1:])
    assert backbone.grid.image_hw == (128, 128) and backbone.reader.facts.depth == 2
    first = dvt.load_backbone(name, layer=0, norm=False, device="cpu")
    assert first.layer == 0 and not torch.allclose(first(x).patches, backbone(x).patches)


def test_a_map_of_a_convolutional_network_is_a_grid_of_patches(images):
    network = timm.create_model("resnet10t", features_only=True, out_indices=[3], pretrained=False).eval()
    backbone = dvt.wrap_backbone(network, patch=16, forward=lambda net, x: net(x)[0], image_size=96, device="cpu")
    x = images(2, 64, 96)
    torch.testing.assert_close(backbone(x).patches, network(x)[0].permute(0, 2, 3, 1))
    assert backbone(x).prefix.shape == (2, 0, 256) and backbone.spec.backbone == "module:FeatureListNet"
    result = dvt.decompose(x[0], backbone, quality="tiny")
    total = result.clean + result.artifact + result.residual
    torch.testing.assert_close(total, result.raw)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def build():\n    return 3\n", "returned int, not a torch.nn.Module"),
        ("def build():\n    raise ValueError('no file')\n", "raised ValueError: no file"),
        (
            "import torch\n\n\ndef build():\n    return torch.nn.Conv2d(3, 4, 8, 8)\n",
            "patch=None. Give it an attribute",
        ),
        (
            "import torch\n\nnet = torch.nn.Conv2d(3, 4, 8, 8)\nnet.patch = 4\n\n\ndef build():\n    return net\n",
            r"returned shape \(1, 4, 8, 8\) for images of 64 x 64 px and patches of 4 px: .* here \(B, 256, C\)",
        ),
        (
            "import torch\n\n\ndef build():\n    net = torch.nn.Linear(5, 5)\n    net.patch = 4\n    return net\n",
            "raised RuntimeError for a black image of 64 x 64 px",
        ),
        ("def other():\n    pass\n", "was not found .* has no attribute 'build'"),
    ],
)
def test_a_function_that_gives_something_else(factories, text, said):
    with pytest.raises(BackboneError, match=said):
        dvt.load_backbone(f"module:{factories(text)}:build", device="cpu")


def test_a_forward_has_to_run_the_module_that_it_is_given():
    tower = Tower()
    given = {"patch": 8, "num_prefix_tokens": 1, "image_size": 64, "device": "cpu"}
    for other in (lambda net, x: tower(x), lambda net, x: tower.last(net(x))):
        with pytest.raises(BackboneError, match="forward= runs a module of its own, not the one that it is given"):
            dvt.wrap_backbone(tower, forward=other, **given)
    for own in (lambda net, x: net(x), lambda net, x: net.last(net(x))):
        dvt.wrap_backbone(tower, forward=own, **given)


def test_wrap_says_what_does_not_fit():
    stem = nn.Conv2d(3, 4, 8, stride=8)
    with pytest.raises(BackboneError, match="blocks='layers' is no part of Conv2d"):
        dvt.wrap_backbone(stem, patch=8, blocks="layers", device="cpu")
    with pytest.raises(ConfigError, match=r"mean=\[0.5\]: give three numbers"):
        dvt.wrap_backbone(stem, patch=8, mean=[0.5], device="cpu")
    with pytest.raises(BackboneError, match="only ViTs of timm can have a stride"):
        dvt.wrap_backbone(stem, patch=8, device="cpu").reader.set_stride(4)


def test_names_and_sources():
    assert joined_name("timm", "transformers:a/b") == "transformers:a/b"
    assert joined_name("open_clip", "open_clip:ViT-B-16/x") == "open_clip:ViT-B-16/x"
    assert split_name("vit_micro") == ("timm", "vit_micro") and split_name("other:x") == ("timm", "other:x")
    with pytest.raises(BackboneError, match=r"backbone.source=hub does not exist: give one of timm, transformers"):
        joined_name("hub", "x")
    with pytest.raises(BackboneError, match="is of torch_hub: leave one of them out"):
        joined_name("transformers", "torch_hub:a/b:c")


def test_colours_that_are_none():
    for option, value in (("mean", [0.5]), ("std", [0.5, 0.5]), ("std", [0.5, 0.0, 0.5])):
        with pytest.raises(ConfigError, match=f"backbone.{option}="):
            dvt.load_backbone("vit_micro", device="cpu", **{option: value})


def test_a_library_that_is_not_installed(monkeypatch):
    monkeypatch.setattr("dvt.backbone.sources.libraries.find_spec", lambda name: None)
    for source, extra in (("transformers", "transformers"), ("open_clip", "openclip")):
        with pytest.raises(BackboneError, match=rf"needs {source}: pip install 'denoising-vit\[{extra}\]'"):
            dvt.load_backbone(f"{source}:x", device="cpu")


@pytest.mark.sources
def test_the_python_of_the_guide_runs(clip, factories, tmp_path, monkeypatch):
    """With small models of these classes in the place of those that have to be downloaded."""
    guide = (Path(__file__).parents[2] / "docs" / "howto" / "own_backbone.md").read_text(encoding="utf-8")
    guide = guide[guide.index("## Other libraries") :]
    saved("Dinov2Model", tmp_path / "dinov2")
    (tmp_path / "hubconf.py").write_text(HUBCONF.format(name="vit_small_patch14_dinov2", weights=tmp_path / "vit.pth"))
    options = {"depth": 2, "embed_dim": 64, "num_heads": 4, "num_classes": 0}
    torch.save(timm.create_model("vit_small_patch14_dinov2", **options).state_dict(), tmp_path / "vit.pth")
    build = "from test_backbone_sources import Tower\n\n\ndef build():\n    return Tower()\n"
    small = {
        '"facebook/dinov2-small"': repr(str(tmp_path / "dinov2")),
        '"ViT-B-16/laion2b_s34b_b88k", ': f'"{TINY_CLIP}", weights=clip, ',
        "facebookresearch/dinov2:dinov2_vits14": f"{tmp_path}:small_vit",
        "my_package.models": factories(build),
        "convnext_tiny": "convnext_atto",
        '"cat.jpg", backbone)': '"cat.jpg", backbone, quality="tiny")',
    }
    for theirs, ours in small.items():
        assert theirs in guide
        guide = guide.replace(theirs, ours)
    monkeypatch.chdir(tmp_path)
    write_noise(tmp_path / "cat.jpg", (70, 90), 0)
    names, blocks = {"dvt": dvt, "clip": clip.state_dict()}, re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    for block in blocks:
        exec(block, names)
        names.pop("features", names.pop("result", None))
    assert len(blocks) == 5


@pytest.mark.sources
def test_every_kind_of_these_tests_is_tried():
    assert set(KINDS) == set(kinds()) and issubclass(BackboneError, DvtError)
