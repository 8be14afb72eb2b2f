"""torch.hub: what hubconf.py offers works with torch, torchvision, timm and what these need, and nothing else."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from originals import block_state, run_blocks

ROOT = Path(__file__).parents[2]

CLIENT = """
import json, sys

REFUSED = {"jaxtyping", "beartype", "hydra", "omegaconf", "lightning", "pytorch_lightning", "lightning_fabric", "rich",
           "matplotlib", "sklearn", "wandb", "onnx", "onnxruntime", "tensorboard"}

class Without:
    # A finder that knows nothing of some packages, as if they were not installed.
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in REFUSED else self.finder.find_spec(name, path, target)

sys.meta_path[:] = map(Without, sys.meta_path)
import torch

repository, path = sys.argv[1:]
options = {"source": "local", "backbone": "augreg_tiny", "backbone_weights": "random", "device": "cpu"}
model = torch.hub.load(repository, "denoised", weights=path, **options)
image = model.preprocess(torch.rand(3, 50, 50, generator=torch.Generator().manual_seed(0)))
raw, clean = model.backbone(image[None]).patches, model(image[None]).patches
torch.save({"raw": raw, "clean": clean}, "features.pth")
model.denoiser.save_pretrained("published")
again = torch.hub.load(repository, "denoised", weights="published", **options)
print(json.dumps({
    "same": torch.equal(again(image[None]).patches, clean),
    "found": sorted(name for name in REFUSED if name in sys.modules),
}))
"""


@pytest.mark.process
def test_torch_hub_needs_torch_and_timm_alone(save, here):
    path = save({"denoiser": block_state(192)}, "denoiser.pth")
    kept = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "DVT_HOME")}
    command = [sys.executable, "-c", CLIENT, str(ROOT), str(path)]
    done = subprocess.run(command, cwd=here, env=kept, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["same"] and result["found"] == []
    features = torch.load(here / "features.pth", weights_only=True)
    expected = run_blocks(block_state(192), features["raw"].flatten(1, 2)).unflatten(1, (4, 4))
    assert (features["clean"] - expected).abs().max() <= 1e-5


def test_the_entry_points_are_models_of_the_catalogue(monkeypatch):
    sys.path.insert(0, str(ROOT))
    try:
        import hubconf
    finally:
        sys.path.remove(str(ROOT))
    asked = []
    monkeypatch.setattr(hubconf, "_load_denoised", lambda *given, **options: (asked.append((given, options)), None))
    offered = [name for name in dir(hubconf) if callable(getattr(hubconf, name)) and not name.startswith("_")]
    entries = [name for name in offered if name.endswith("_dvt")]
    assert sorted(offered) == sorted([*entries, "denoised"]), "what torch.hub.list tells"
    for name in entries:
        getattr(hubconf, name)(device="cpu")
    from dvt.weights.released import RELEASED, timm_spelling

    assert len(asked) == len(entries) >= 5
    for (backbone, weights), options in asked:
        assert timm_spelling(f"{weights}/{backbone}") in RELEASED and options == {"device": "cpu"}
    assert hubconf.dependencies == ["torch", "timm"]
