"""What stands in README.md runs: small, and with the ViT that comes with dvt in the place of DINOv2, as it says."""

import ast
import re
import shlex
from pathlib import Path

import pytest
import torch
from evaluation.tiny_camvid import write_camvid
from noise import write_noise
from safetensors.torch import save_file

from dvt.backbone.build import build_vit
from dvt.backbone.catalogue import CATALOGUE
from dvt.cli.main import VERBS, run
from dvt.weights.released import RECIPES, RELEASED

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
TOY = {
    "doctor": ["num_images=16"],
    "show": ["quality=tiny"],
    "decompose": ["quality=tiny"],
    "train": ["trainer=smoke"],
    "distill": ["trainer=smoke"],
    "evaluate": ["quality=tiny", "srt.max_shift=1"],
    "export": [],
    "convert": [],
}
"""What makes a command small."""


def section(heading):
    """The text below a heading."""
    return re.split(r"^## ", README.split(f"\n## {heading}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]


def commands(text):
    """The arguments of every `dvt ...`; what stands behind two spaces is a remark."""
    lines = re.findall(r"^    dvt (\w+ +.*)$", text, re.MULTILINE)
    return [shlex.split(re.split(r"(?<=\S) {2,}(?=\S)", re.sub(r"^(\w+) +", r"\1 ", line))[0]) for line in lines]


def offline(text):
    """The README's own advice for a machine without the model hub."""
    advice = '`vit_micro` in the place of `dinov2_base`, and `weights="vit_micro/denoiser"`'
    assert advice in " ".join(README.split())
    return text.replace("dinov2_base", "vit_micro").replace('weights="voc_denoised"', 'weights="vit_micro/denoiser"')


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the files that the README speaks of."""
    folder = tmp_path_factory.mktemp("readme")
    for seed, name in enumerate(("cat", "photos/cat", *(f"photos/{number}" for number in range(15)))):
        write_noise(folder / f"{name}.jpg", (96, 128), seed)
    write_camvid(folder / "camvid")
    weights = {key: tensor.half() for key, tensor in build_vit("vit_small_patch16_224").state_dict().items()}
    save_file(weights, folder / "mine.safetensors")
    return folder


def run_python(block, names):
    """Run a block, and look at the shape of every line whose remark begins with one."""
    exec(compile(block, "README.md", "exec"), names)
    checked = 0
    for line in block.splitlines():
        code, _, remark = line.partition("#")
        if shape := re.match(r"\s*(\([\d, ]+\))", remark):
            wanted = tuple({37: 14, 768: 192}.get(size, size) for size in ast.literal_eval(shape[1]))
            assert tuple(eval(code, names).shape) == wanted, line
            checked += 1
    return checked


def test_the_flow_and_the_python(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    text = offline(README)
    first, second = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    names = {}
    assert run_python(first, names) == 4
    assert torch.equal(names["result"].raw - names["result"].clean - names["result"].artifact, names["result"].residual)
    flow = commands(offline(section("The flow")))
    assert {verb for verb, *_ in flow} == {"doctor", "show", "decompose", "train", "distill", "evaluate", "export"}
    for verb, *arguments in flow:
        small = [*TOY[verb], *(["stream.quality=tiny"] if "out=runs/streamed" in arguments else [])]
        assert run([verb, *arguments, *small]) == 0, (verb, capsys.readouterr().err)
    assert run_python(second, names) == 1
    made = ("cat.dvt.png", "runs/photos", "runs/denoiser/weights.safetensors", "runs/distilled", "model.onnx")
    assert [name for name in made if not (place / name).exists()] == []


def test_a_vit_of_yours(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    found = commands(section("With your ViT"))
    assert len(found) == 4
    for verb, *arguments in found:
        small = [] if verb == "convert" else ["device=cpu", "quality=tiny", "backbone.image_size=64", "out=a.png"]
        if "dino" in " ".join(arguments) and verb == "show":  # its weights are on the hub
            small.append("backbone.weights=random")
        assert run([verb, *arguments, *small]) == 0, capsys.readouterr().err
    assert "dinov2_base" in capsys.readouterr().out


def test_the_families_are_there():
    _, *rows = re.findall(r"^\| ([^|]+) \| (`[^|]+) \| ([^|]+) \|$", section("With your ViT"), re.MULTILINE)
    assert len(rows) == 7
    for family, backbones, released in rows:
        for name in re.findall(r"`(\w+)`", backbones):
            assert name in CATALOGUE, f"{family}: {name}"
        for name in re.findall(r"`(\w+)`", released):
            assert any(f"{recipe}/{CATALOGUE[name].timm}" in RELEASED for recipe in RECIPES), f"{family}: {name}"


def test_the_options_are_there(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    needed = {
        "decompose": ["images=photos", "store=s"],
        "train": ["store=s", "out=o"],
        "distill": ["images=photos", "denoiser=d", "out=o"],
    }
    lines = re.findall(r"^    (\w+)=(\S+)\s+(.*)$", section("With your pictures, on your machines"), re.MULTILINE)
    assert len(lines) == 8
    for name, values, remark in lines:
        verbs = [verb for verb in needed if re.search(rf"of (train and )?{verb}\b", remark)] or ["decompose", "train"]
        verbs = ["decompose"] if name in ("images", "quality") else ["train"] if name == "logger" else verbs
        for verb in verbs:
            for value in values.split("|"):
                others = [each for each in needed[verb] if not each.startswith(f"{name}=")]
                assert run([verb, f"{name}={value}", *others, "--cfg", "job"]) == 0, capsys.readouterr().err


def test_every_verb_is_named():
    named = {verb for verb in VERBS if re.search(rf"\bdvt {verb}\b", README)}
    assert named >= {"decompose", "train", "distill", "show", "evaluate", "doctor", "export", "convert"}
