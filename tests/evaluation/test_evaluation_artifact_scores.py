"""The artifact scores of methods, as a task."""

import json
import math

import pytest
import torch
from PIL import Image
from recorder import Recorder
from torch.nn import functional

from dvt.backbone.features import Features
from dvt.diagnosis.config import ArtifactScoresConfig
from dvt.errors import EvaluationError, GeometryError, ImageError
from dvt.evaluation.tasks import make_task
from dvt.evaluation.tasks.artifact_scores import ArtifactScores
from dvt.grid import PatchGrid
from dvt.images.resize import resize
from dvt.spec import FeatureSpec

CONFIG = {"num_images": 16, "image_size": 64, "seeds": 2}


class PatchColours:
    """A method that says how bright each quarter of a patch is, and adds the same pattern to every picture."""

    cost = 1
    spec = FeatureSpec(
        backbone="colours", weights_hash="0", layer=0, norm=True, grid=PatchGrid.of((64, 64), 8), channels=12
    )

    def __init__(self, pattern=0.0, name="raw"):
        self.name, self.pattern, self.options = name, pattern, {"pattern": str(pattern)}
        self.largest_batch = 0

    def grid_for(self, image_hw):
        return PatchGrid.of(image_hw, 8)

    def __call__(self, pictures, image_hw):
        self.largest_batch = max(self.largest_batch, len(pictures))
        pixels = torch.stack([resize(picture, image_hw) for picture in pictures])
        quarters = functional.unfold(functional.avg_pool2d(pixels, 4), 2, stride=2)
        grid = self.grid_for(image_hw)
        maps = quarters.unflatten(2, grid.hw).permute(0, 2, 3, 1) + self.pattern
        return Features(patches=maps, prefix=maps.new_zeros(len(maps), 0, 12), grid=grid)


@pytest.fixture
def folder(tmp_path):
    for number in range(20):
        rng = torch.Generator().manual_seed(number)
        pixels = resize(torch.rand(3, 12, 15, generator=rng), (90, 110)).clamp(0, 1)
        image = Image.fromarray((pixels * 255).byte().permute(1, 2, 0).numpy())
        image.save(tmp_path / f"{number}.png")
    return tmp_path


def mean(scores, name):
    return sum(scores.values[name]) / len(scores.values[name])


def test_a_pattern_scores_higher_than_none(folder):
    task = ArtifactScores(ArtifactScoresConfig(**CONFIG), folder)
    clean = task.evaluate(PatchColours())
    fixed = 0.2 * torch.randn(8, 8, 12, generator=torch.Generator().manual_seed(0))
    patterned = task.evaluate(PatchColours(fixed))
    for scores in (clean, patterned):
        assert set(scores.values) == {metric.name for metric in task.metrics}
        assert all(len(values) == 2 for values in scores.values.values())
    assert abs(mean(clean, "position share")) < 0.05 and mean(patterned, "position share") > 0.3
    assert mean(clean, "shift error") < 0.05 and mean(patterned, "shift error") > 0.3
    assert mean(patterned, "shift locked") > 0.8
    assert mean(patterned, "position R2") > mean(clean, "position R2") + 0.1
    assert mean(patterned, "MIC") > mean(clean, "MIC")


def test_layout_counts_upright_alone(tmp_path):
    """Pictures with a sky: upright they look like a pattern, in random crops and flips they do not."""
    for number in range(60):
        rng = torch.Generator().manual_seed(number)
        pixels = 0.5 * torch.rand(3, 12, 15, generator=rng) + 0.5 * torch.linspace(1, 0, 12)[:, None]
        image = resize(pixels, (90, 110)).clamp(0, 1)
        Image.fromarray((image * 255).byte().permute(1, 2, 0).numpy()).save(tmp_path / f"{number}.png")
    scores = ArtifactScores(ArtifactScoresConfig(num_images=60, image_size=64, seeds=1), tmp_path).evaluate(
        PatchColours()
    )
    assert mean(scores, "upright share") > 0.3 and mean(scores, "position share") < 0.1
    assert mean(scores, "shift error") < 0.05


def test_details_protocol_and_progress(folder):
    task = make_task("artifact_scores", ArtifactScoresConfig(**CONFIG), folder)
    recorder, method = Recorder(), PatchColours()
    scores = task.evaluate(method, recorder)
    maps = scores.details["maps of seed 0"]
    assert len(maps["position share"]) == len(maps["position share"][0]) == 8
    json.dumps([scores.details, task.protocol], allow_nan=False)
    assert recorder.works == [["images", 32, 32]]
    assert method.largest_batch == 12  # three views of four pictures
    assert task.name == "artifact_scores" and task.metrics[0].name == "position share"


def test_the_same_again(folder):
    task = ArtifactScores(ArtifactScoresConfig(**CONFIG), folder)
    assert repr(task.evaluate(PatchColours()).values) == repr(task.evaluate(PatchColours()).values)


def test_features_that_do_not_vary_have_no_value_and_a_note_says_so(folder):
    class Constant(PatchColours):
        def __call__(self, pictures, image_hw):
            features = super().__call__(pictures, image_hw)
            return Features(patches=torch.ones_like(features.patches), prefix=features.prefix, grid=features.grid)

    scores = ArtifactScores(ArtifactScoresConfig(**CONFIG), folder).evaluate(Constant())
    assert math.isnan(scores.values["shift error"][0]) and scores.values["position share"][0] == 0
    assert any(note.startswith("shift error: no value") for note in scores.notes)
    json.dumps(scores.details, allow_nan=False)


def test_what_cannot_be_scored(folder, tmp_path_factory):
    with pytest.raises(ImageError, match="does not exist"):
        ArtifactScores(ArtifactScoresConfig(), folder / "nowhere")
    with pytest.raises(ImageError, match="found 1"):
        ArtifactScores(ArtifactScoresConfig(), folder / "0.png")
    with pytest.raises(GeometryError):
        ArtifactScores(ArtifactScoresConfig(num_images=16, image_size=60), folder).evaluate(PatchColours())
    with pytest.raises(GeometryError, match="Give a larger image_size"):
        ArtifactScores(ArtifactScoresConfig(num_images=16, image_size=8), folder).evaluate(PatchColours())
    with pytest.raises(EvaluationError, match="raw gives features that are NaN"):
        ArtifactScores(ArtifactScoresConfig(**CONFIG), folder).evaluate(PatchColours(math.inf))
