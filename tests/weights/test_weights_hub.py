"""The hub, played by a server on this machine to the real client: fetch, push, and the hub that is not there."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from fake_hub import fake_hub
from originals import block_state
from safetensors.torch import save

from dvt.backbone.sources.timm_build import build_vit
from dvt.backbone.vit import facts_of
from dvt.denoiser.config import DenoiserConfig
from dvt.denoiser.network import Denoiser
from dvt.grid import PatchGrid
from dvt.weights.info import ModelInfo

pytestmark = pytest.mark.network
BASE = "vit_base_patch14_dinov2.lvd142m"
VIT = "timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k/model.safetensors"

# In a process of its own: the client reads its settings when it is imported.
CLIENT = """
import io, json, os, sys, time
import torch
import dvt
from dvt.backbone.sources.timm_weights import fetch_weights
from dvt.errors import WeightsError
from dvt.weights.hub import push_model

def refused(action, *given, **options):
    start = time.perf_counter()
    try:
        action(*given, **options)
    except WeightsError as error:
        return str(error), time.perf_counter() - start

def gate(text):
    print(json.dumps(text), flush=True)
    input()

result = {}
vit = dvt.load_backbone("augreg_tiny", device="cpu")
result["values"] = sorted({float(tensor.flatten()[0]) for tensor in vit.vit.state_dict().values()})
result["no weights"], _ = refused(fetch_weights, "vit_small_patch16_224.dino")
released = dvt.load_denoiser("voc_denoised/dinov2_base")
result["released"] = float(released.pos_embed.detach().sum())
result["absent"], _ = refused(dvt.load_denoiser, "voc_denoised/clip_base")
result["nobody"], _ = refused(dvt.load_denoiser, "voc_denoized/dinov2_base")

mine = dvt.Denoiser.from_pretrained("mine")
result["commit"] = mine.push_to_hub("me/mine", token="hf_test")
state, info = mine.state_dict(), mine.info
result["student"] = push_model("me/student", state, info, token="hf_test")
result["no token"], _ = refused(push_model, "me/refused", state, info, token="hf_test")
pulled = dvt.Denoiser.from_pretrained("me/mine")
result["pulled"] = all(torch.equal(pulled.state_dict()[key], tensor) for key, tensor in state.items())
result["info"] = pulled.info == info

with torch.no_grad():
    mine.pos_embed.add_(1)
mine.push_to_hub("me/mine", token="hf_test")
newer = dvt.load_denoiser("hf:me/mine")
result["newer"] = torch.equal(newer.pos_embed, mine.pos_embed)
gate("stop the hub")

result["vit again"] = dvt.load_backbone("augreg_tiny", device="cpu").weights_hash == vit.weights_hash
result["unreachable vit"], result["vit seconds"] = refused(fetch_weights, "vit_base_patch14_dinov2.lvd142m")
result["released again"] = float(dvt.load_denoiser("voc_denoised/dinov2_base").pos_embed.detach().sum())
result["mine again"] = torch.equal(dvt.load_denoiser("me/mine").pos_embed, mine.pos_embed)
result["mine from the cache"] = torch.equal(
    dvt.Denoiser.from_pretrained("me/mine", local_files_only=True).pos_embed, mine.pos_embed
)
result["unreachable"], result["seconds"] = refused(dvt.load_denoiser, "voc_denoised/dino_base")
os.environ["DVT_HOME"] = "weights"
result["home"], _ = refused(dvt.load_denoiser, "voc_denoised/dino_base")
result["unreachable model"], _ = refused(dvt.load_denoiser, "me/other")
result["unreachable push"], _ = refused(mine.push_to_hub, "me/mine", token="hf_test")
print(json.dumps(result))
"""


def test_fetch_push_and_a_hub_that_is_gone(here):
    small = Denoiser(DenoiserConfig(), 64, (4, 4))
    small.info = _info()
    small.save_pretrained("mine")
    torch.save({"denoiser": block_state(768, 16)}, here / "released.pth")
    filled = {key: tensor.fill_(0.5) for key, tensor in build_vit("vit_tiny_patch16_224").state_dict().items()}
    with fake_hub() as hub:
        hub.files[VIT] = save(filled)
        hub.files["timm/vit_small_patch16_224.dino/README.md"] = b"no weights"
        hub.files[f"jjiaweiyang/DVT/voc_denoised/{BASE}.pth"] = (here / "released.pth").read_bytes()
        result = _play(hub, here)

        assert result["released"] == result["released again"] == float(block_state(768, 16)["pos_embed"].sum())
        gets = [path for method, path in hub.requests if method == "GET" and "jjiaweiyang" in path]
        assert len(gets) == 1, "once, then from the cache"
        assert "file voc_denoised/vit_base_patch16_clip_384" in result["absent"] and "never checked" in result["absent"]
        assert "Nearest names: voc_denoised/dinov2_base" in result["nobody"]
        assert "Taken for a repository" in result["nobody"]

        assert result["values"] == [0.5]
        gets = [path for method, path in hub.requests if method == "GET" and "vit_tiny" in path]
        assert len(gets) == 1 and result["vit again"], "once, then from the cache"
        asked = {path.rpartition("/")[2] for _, path in hub.requests if "vit_small_patch16_224.dino" in path}
        assert asked == {"model.safetensors", "pytorch_model.bin"}
        assert "the weights of vit_small_patch16_224.dino could not be fetched" in result["no weights"]

        assert result["commit"].startswith(f"{hub.address}/me/mine/commit/")
        assert result["pulled"] and result["info"] and result["newer"], "what was pushed, and its change"
        assert "could not be sent to me/refused" in result["no token"] and "hf auth login" in result["no token"]
        card = hub.files["me/mine/README.md"].decode()
        assert yaml.safe_load(card.split("---")[1])["library_name"] == "dvt" and 'weights="me/mine"' in card
        assert json.loads(hub.files["me/mine/config.json"])["kind"] == "denoiser"
        assert {"me/student/weights.safetensors", "me/student/README.md"} <= set(hub.files)

    assert result["mine again"] and result["mine from the cache"]
    assert max(result["seconds"], result["vit seconds"]) < 5, "no long retries"
    assert f"weights of {BASE} could not be fetched: file model.safetensors of timm/{BASE}" in result["unreachable vit"]
    assert "backbone.weights=<file>" in result["unreachable vit"]
    name = "voc_denoised/vit_base_patch16_224.dino"
    for part in (
        f"file {name}.pth of jjiaweiyang/DVT",
        f"https://huggingface.co/jjiaweiyang/DVT/resolve/main/{name}.pth",
        f"put it at checkpoints/{name}.pth",
        "DVT_HOME",
    ):
        assert part in result["unreachable"], part
    assert f"put it at weights/{name}.pth." in result["home"]
    assert "me/other could not be fetched" in result["unreachable model"]
    assert "could not be sent to me/mine" in result["unreachable push"]


def _info():
    spec = replace(facts_of("augreg_tiny").spec, grid=PatchGrid.of((64, 64), 16), channels=64)
    return ModelInfo(
        kind="denoiser", spec=spec, architecture={}, training={}, metrics={}, base_license=None, code_version="0"
    )


def _play(hub, here):
    """Run the client beside the hub; stop the hub where it asks for that."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGINGFACE_", "DVT_"))}
    paths = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    settings = {
        "HF_ENDPOINT": hub.address,
        "HF_HOME": str(here / "hf"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "PYTHONPATH": paths,
    }
    with subprocess.Popen(
        [sys.executable, "-c", CLIENT],
        cwd=here,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**kept, **settings},
    ) as client:
        ready = client.stdout.readline()
        hub.stop()
        out, err = client.communicate("\n", timeout=90)
    assert ready and client.returncode == 0, err
    return json.loads(out)
