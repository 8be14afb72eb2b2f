"""The features of an image, method by method: the order, one fit for one F, the same numbers as at once."""

from dataclasses import replace

import pytest
import torch
from reporters import Collect

import dvt
from dvt.decomposition.quality import load_quality
from dvt.methods.decomposed import Decomposed
from dvt.methods.explored import explorer_image, explorer_images
from dvt.methods.method import OnePass, maps_of
from dvt.srt.backbone import SrtBackbone
from dvt.srt.config import SrtConfig


@pytest.fixture(scope="module")
def backbone():
    return dvt.load_backbone("vit_micro", image_size=64, device="cpu")


@pytest.fixture
def noise_image():
    return torch.rand(3, 70, 90)


def test_methods_of_one_pass_come_first_and_stage_1_is_fitted_once(backbone, noise_image):
    config = load_quality("tiny")
    srt = SrtBackbone(backbone, SrtConfig(max_shift=1))
    methods = [
        Decomposed(backbone, config),
        OnePass("raw", backbone),
        OnePass("srt", srt, cost=srt.passes),
        Decomposed(backbone, replace(config, fine=2)),
    ]
    reporter = Collect()
    steps = list(explorer_images(noise_image, "noise", backbone.grid, methods, reporter))
    names = ["decomposed", "raw", "srt", "decomposed@fine2"]
    assert [list(step.maps) for step in steps] == [["raw"], names[:2], names[:3], names]
    assert [list(step.terms) for step in steps] == [[], *[["artifact", "residual"]] * 3]
    assert [task for _, _, task in reporter.tasks] == ["stage 1, features of views", "stage 1, closed form", "srt"]
    at_once = explorer_image(noise_image, "noise", backbone.grid, methods)
    for name, expected in maps_of(methods, noise_image, (64, 64)).items():
        assert torch.equal(steps[-1].maps[name], expected) and torch.equal(at_once.maps[name], expected)
