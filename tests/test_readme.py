"""README.md and the pages around it: their code runs, on a small ViT instead of DINOv2; what they list exists."""

import ast
import re
import shlex
from pathlib import Path

import pytest
import torch
from evaluation.tiny_camvid import write_camvid
from noise import write_noise
from safetensors.torch import save_file

from dvt.backbone.catalogue import CATALOGUE
from dvt.backbone.sources.timm_build import build_vit
from dvt.cli.main import VERBS, run
from dvt.weights.released import RECIPES, RELEASED

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BACKBONES = (ROOT / "docs" / "howto" / "own_backbone.md").read_text(encoding="utf-8")
TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
SMALL = {
    "doctor": ["num_images=16", "layers=[5]", "ways=false"],
    "show": ["quality=tiny"],
    "decompose": ["quality=tiny"],
    "calibrate": ["windows=2"],
    "train": ["trainer=smoke"],
    "distill": ["trainer=smoke"],
    "evaluate": ["quality=tiny", "srt.max_shift=1", "knn_segmentation.image_size=96"],
    "leaderboard": [],
    "export": ["backbone.image_size=64"],
}
"""Options that make a command small."""
SMALL_BOARD = """
backbones: [{name: vit_micro}]
methods: [raw]
tasks: [{task: knn_segmentation, data: "${data}/camvid", options: {image_size: 64}}]
"""


def commands(text):
    """The arguments of every `dvt ...` line, without the remark behind two spaces."""
    lines = re.findall(r"^    dvt (\w+ +.*)$", text, re.MULTILINE)
    return [shlex.split(re.split(r"(?<=\S) {2,}(?=\S)", re.sub(r"^(\w+) +", r"\1 ", line))[0]) for line in lines]


def offline(text):
    """The README's own advice for a machine without a network."""
    assert 'write `vit_micro` for `dinov2_base`, and `weights="vit_micro/denoiser"`' in " ".join(README.split())
    return text.replace("dinov2_base", "vit_micro").replace('weights="voc_denoised"', 'weights="vit_micro/denoiser"')


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the files that the pages name."""
    folder = tmp_path_factory.mktemp("readme")
    for seed, name in enumerate(("cat", "photos/cat", *(f"photos/{number}" for number in range(15)))):
        write_noise(folder / f"{name}.jpg", (96, 128), seed)
    write_camvid(folder / "camvid")
    write_camvid(folder / "data" / "camvid")
    (folder / "leaderboard").mkdir()
    (folder / "leaderboard" / "quick.yaml").write_text(SMALL_BOARD)
    weights = {key: tensor.half() for key, tensor in build_vit("vit_small_patch16_224").state_dict().items()}
    save_file(weights, folder / "mine.safetensors")
    return folder


def run_python(block, names):
    """Run a block; check the shape of every line whose comment starts with one. Returns the number of shapes."""
    exec(compile(block, "README.md", "exec"), names)
    checked = 0
    for line in block.splitlines():
        code, _, comment = line.partition("#")
        if shape := re.match(r"\s*(\([\d, ]+\))", comment):
            wanted = tuple({37: 14, 74: 28, 768: 192}.get(size, size) for size in ast.literal_eval(shape[1]))
            assert tuple(eval(code, names).shape) == wanted, line
            checked += 1
    return checked


def python_blocks():
    return re.findall(r"^```python\n(.*?)^```", offline(README), re.MULTILINE | re.DOTALL)


@pytest.mark.docs
def test_python_of_the_first_screen(place, monkeypatch):
    monkeypatch.chdir(place)
    names = {}
    assert run_python(python_blocks()[0], names) == 4
    result = names["result"]
    assert torch.equal(result.raw - result.clean - result.artifact, result.residual)


@pytest.mark.docs
def test_commands_and_the_python_that_reads_their_results(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    found = [command for command in commands(offline(README)) if command[0] != "view"]  # it does not end by itself
    assert {verb for verb, *_ in found} == set(SMALL)
    for verb, *arguments in found:
        small = [*SMALL[verb], *(["stream.quality=tiny"] if "out=runs/streamed" in arguments else [])]
        assert run([verb, *arguments, *small]) == 0, (verb, capsys.readouterr().err)
    assert run_python(python_blocks()[1], {"dvt": __import__("dvt")}) == 1
    made = ("cat.dvt.png", "runs/photos", "runs/denoiser/weights.safetensors", "runs/distilled", "model.onnx")
    assert [name for name in made if not (place / name).exists()] == []


@pytest.mark.docs
def test_commands_for_a_vit_of_your_own(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    found = [
        arguments
        for arguments in commands(BACKBONES.partition("## Several blocks")[0])
        if "--config-dir" not in arguments
    ]
    assert len(found) == 4
    for verb, *arguments in found:
        small = [] if verb == "convert" else ["device=cpu", "quality=tiny", "backbone.image_size=64", "out=a.png"]
        if "dino" in " ".join(arguments) and verb == "show":  # its weights are on the hub
            small.append("backbone.weights=random")
        assert run([verb, *arguments, *small]) == 0, capsys.readouterr().err
    assert "dinov2_base" in capsys.readouterr().out


def test_named_families_exist():
    text = BACKBONES.partition("## Several blocks")[0]
    _, *rows = re.findall(r"^\| ([^|]+) \| (`[^|]+) \| ([^|]*) \| ([^|]+) \|$", text, re.MULTILINE)
    assert len(rows) == 7
    for family, backbones, _, released in rows:
        for name in re.findall(r"`(\w+)`", backbones):
            assert name in CATALOGUE, f"{family}: {name}"
        for name in re.findall(r"`(\w+)`", released):
            assert any(f"{recipe}/{CATALOGUE[name].timm}" in RELEASED for recipe in RECIPES), f"{family}: {name}"


@pytest.mark.docs
def test_options_of_the_tutorial_exist(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    needed = {
        "decompose": ["images=photos", "store=s"],
        "train": ["store=s", "out=o"],
        "distill": ["images=photos", "denoiser=d", "out=o"],
    }
    lines = re.findall(r"^    (\w+)=(\S+)\s+(.*)$", TUTORIAL.split("\n## Options to know\n")[1], re.MULTILINE)
    assert len(lines) == 11
    chosen: dict[str, list[tuple[str, list[str]]]] = {verb: [] for verb in needed}
    for name, values, remark in lines:
        verbs = [verb for verb in needed if re.search(rf"of (train and )?{verb}\b", remark)] or ["decompose"]
        for verb in verbs:
            chosen[verb].append((name, values.split("|")))
    for verb, options in chosen.items():
        for turn in range(max(len(values) for _, values in options)):  # every value once, all options together
            given = {name: values[turn % len(values)] for name, values in options}
            others = [each for each in needed[verb] if each.split("=")[0] not in given]
            arguments = [f"{name}={value}" for name, value in given.items()]
            assert run([verb, *arguments, *others, "--cfg", "job"]) == 0, (arguments, capsys.readouterr().err)


def test_every_verb_is_named():
    named = {verb for verb in VERBS if re.search(rf"\bdvt {verb}\b", README + TUTORIAL + BACKBONES)}
    assert named >= {"decompose", "train", "distill", "show", "evaluate", "doctor", "export", "convert", "store"}


def test_the_list_of_packages_is_that_of_the_tree():
    listed = set(re.findall(r"\bdvt/(\w+)/ ", README))
    packages = {path.parent.name for path in (ROOT / "dvt").glob("*/__init__.py")}
    assert listed == packages, listed ^ packages
