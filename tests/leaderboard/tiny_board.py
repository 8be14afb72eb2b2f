"""A leaderboard of seconds: vit_micro at 64 px on street scenes of a few pixels."""

import json
import shutil

import yaml
from evaluation.tiny_camvid import write_camvid
from noise import write_noise

OPTIONS = {"image_size": 64, "layouts": ["usual"]}
SPEC = {
    "title": "Tiny <board>",
    "backbones": [
        {"name": "vit_micro", "denoiser": "vit_micro/denoiser", "methods": ["denoised"]},
        {"label": "early", "name": "vit_micro", "layer": 2, "norm": False},
    ],
    "methods": ["raw", "raw@2x", "flip"],
    "tasks": [
        {"label": "camvid", "task": "knn_segmentation", "data": "${data}/camvid", "options": OPTIONS},
        {
            "label": "probe",
            "task": "linear_segmentation",
            "data": "${data}/camvid",
            "options": {**OPTIONS, "seeds": 2, "patches": {"num_steps": 5}},
        },
    ],
    "doctor": {"images": "${data}/photos", "num_images": 16, "layers": [2]},
}
CELLS = 14


def write_data(folder):
    """camvid/ and photos/ in a folder."""
    write_camvid(folder / "camvid")
    for number in range(16):
        write_noise(folder / "photos" / f"{number}.png", (70, 90), number)
    return folder


def write_spec(path, **changes):
    """The specification, with parts replaced."""
    path.write_text(yaml.safe_dump({**SPEC, **changes}))
    return path


def arguments(spec, data, out):
    return ["leaderboard", f"spec={spec}", f"data={data}", f"out={out}", "device=cpu"]


def change_receipt(path, change, *, sign=False):
    """Change the content of a receipt; with `sign` its own hash is made right again."""
    from dvt.leaderboard.receipts import _digest

    body = json.loads(path.read_text())
    change(body)
    if sign:
        del body["sha256"]
        body["sha256"] = _digest(body)
    path.write_text(json.dumps(body, indent=2) + "\n")


def copied(board, folder):
    """A copy of a leaderboard that a test may change."""
    shutil.copytree(board, folder)
    return folder
