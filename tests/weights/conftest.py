"""An empty working folder without weights of this machine, and small models in it."""

import pytest
import torch

from dvt.backbone.sources.timm_build import build_vit

TINY = "vit_tiny_patch16_224.augreg_in21k_ft_in1k"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """The working folder of a test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVT_HOME", raising=False)
    monkeypatch.setattr("dvt.shipped.__file__", str(tmp_path / "installed" / "dvt" / "shipped.py"))
    return tmp_path


@pytest.fixture
def save(here):
    """save(content, "checkpoints/a.pth") writes a file of torch.save and returns its path."""

    def write(content, name):
        path = here / name
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(content, path)
        return path

    return write


@pytest.fixture(scope="session")
def tiny_vit_state():
    """The weights of an untrained ViT-Ti/16."""
    return build_vit(TINY).state_dict()
