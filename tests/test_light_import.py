"""Loading a ViT for inference imports torch, timm, safetensors, numpy, Pillow and what these import, nothing else."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from torch import Tensor

ROOT = Path(__file__).parents[1]

CODE = """
import json, sys
import torch, timm, safetensors.torch, numpy, PIL.Image

def packages():
    return {name.partition(".")[0] for name in sys.modules} - sys.stdlib_module_names

before = packages()
import dvt

model, preprocess = dvt.load_denoised("vit_micro", weights="vit_micro/denoiser")
backbone = dvt.load_backbone("vit_micro")
images = preprocess(PIL.Image.new("RGB", (300, 200)))[None]
clean, raw = model(images).patches, backbone(images).patches
assert clean.shape == raw.shape and clean.isfinite().all()
from dvt.shapes import Float
print(json.dumps({"more": sorted(packages() - before), "bare": Float[torch.Tensor, "B C"] is torch.Tensor}))
"""


@pytest.mark.process
def test_inference_imports_five_packages_and_theirs(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", CODE]
    ran = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == {"more": ["dvt"], "bare": True}


def test_the_tests_check_shapes():
    """jaxtyping is loaded before dvt here, so that aliases are not bare tensors."""
    from dvt.shapes import Bool, Float, Float32, Float64, Int, Int64, Shaped

    for alias in (Bool, Float, Float32, Float64, Int, Int64, Shaped):
        assert alias[Tensor, "B C"] is not Tensor and alias.__module__.startswith("jaxtyping")
