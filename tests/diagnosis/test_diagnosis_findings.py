"""Every planted artifact is found and named; without one there is none."""

import pytest
import torch
from PIL import Image
from planted_model import PlantedModel

from dvt.cli.advice import advice
from dvt.diagnosis.config import DoctorConfig
from dvt.diagnosis.diagnose import diagnose_layers
from dvt.diagnosis.findings import ArtifactKind, Severity, percent, span, where
from dvt.diagnosis.layers import Layer
from dvt.diagnosis.windows import Choice
from dvt.errors import ConfigError
from dvt.images import find_images


def kinds(diagnosis):
    return [(finding.kind, finding.severity) for finding in diagnosis.findings]


def names(finding):
    return [layer.name for layer in finding.layers]


def advice_of(diagnosis):
    return "\n".join(advice(diagnosis, backbone="backbone=x", images="photos"))


def test_clean_features_have_none(diagnosed):
    diagnosis = diagnosed()
    assert diagnosis.findings == () and diagnosis.kind is ArtifactKind.none
    assert diagnosis.words().startswith("No artifact")
    lines = advice_of(diagnosis).splitlines()
    assert lines[0].startswith("There is nothing to remove") and "dvt evaluate" in lines[-1]


@pytest.mark.parametrize(("size", "severity"), [(0.35, Severity.mild), (1.0, Severity.strong)])
def test_a_static_pattern(diagnosed, plant, size, severity):
    diagnosis = diagnosed(block4=plant["pattern"](size), output=plant["pattern"](size))
    assert kinds(diagnosis) == [(ArtifactKind.pattern, severity)]
    (finding,) = diagnosis.findings
    assert names(finding) == ["block 4", "block 5 + norm"] and finding.at_output and finding.fixed
    share = max(diagnosis.reports[place].rest_share for place in (2, 4))
    assert f"position explains {share:.3f} of the variance" in finding.text
    text = advice_of(diagnosis)
    assert "dvt decompose images=photos store=runs/store backbone=x" in text and "dvt train" in text
    assert ("it is mild" in text) == (severity is Severity.mild)


@pytest.mark.parametrize(("size", "severity"), [(0.6, Severity.mild), (2.0, Severity.strong)])
def test_a_ramp(diagnosed, plant, size, severity):
    diagnosis = diagnosed(output=plant["slope"](size))
    assert kinds(diagnosis) == [(ArtifactKind.ramp, severity)]
    assert "lowest frequencies" in diagnosis.findings[0].text
    assert "method=srt, which cannot" in advice_of(diagnosis)


@pytest.mark.parametrize(("size", "severity"), [(2.6, Severity.mild), (10.0, Severity.strong)])
def test_outliers_at_fixed_places(diagnosed, plant, size, severity):
    diagnosis = diagnosed(block5=plant["corners"](size))
    assert kinds(diagnosis) == [(ArtifactKind.outliers, severity)]
    (finding,) = diagnosis.findings
    assert finding.fixed and not finding.at_output and names(finding) == ["block 5"]
    assert "4 of 100 patches, the four corners" in finding.text
    advice = advice_of(diagnosis)
    assert "Use the features after the final norm" in advice and "block 5 + norm itself has no artifact" in advice


def test_outliers_that_move(diagnosed, plant):
    diagnosis = diagnosed(block5=plant["wandering"](30.0), output=plant["wandering"](30.0))
    assert kinds(diagnosis) == [(ArtifactKind.outliers, Severity.strong)]
    assert not diagnosis.findings[0].fixed and "their places differ from image to image" in diagnosis.findings[0].text
    advice = advice_of(diagnosis)
    assert "ViT with registers" in advice and "dvt decompose" not in advice


def test_a_pattern_at_a_few_patches(diagnosed, plant):
    """Too few to move the share of the whole grid, and no outliers: they have the norm of the others."""
    diagnosis = diagnosed(output=plant["corners"](0.9))
    assert kinds(diagnosis) == [(ArtifactKind.pattern, Severity.mild)]
    assert "4 of 100 patches, the four corners" in diagnosis.findings[0].text


def test_a_pattern_before_the_output_is_not_at_the_output(diagnosed, plant):
    """The output has a ramp, so it is no candidate for a static pattern."""
    diagnosis = diagnosed(block5=plant["pattern"](1.0), output=plant["slope"](2.0))
    at_output = {finding.kind: finding.at_output for finding in diagnosis.findings}
    assert at_output == {ArtifactKind.pattern: False, ArtifactKind.ramp: True}


def test_a_ramp_behind_outliers_is_seen(diagnosed, plant):
    def both(maps, images):
        return plant["corners"](20.0)(plant["slope"](2.0)(maps, images), images)

    diagnosis = diagnosed(output=both)
    assert set(kinds(diagnosis)) == {(ArtifactKind.outliers, Severity.strong), (ArtifactKind.ramp, Severity.strong)}
    assert "without the places of outliers" in diagnosis.findings[1].text


def test_strong_before_mild(diagnosed, plant):
    diagnosis = diagnosed(block4=plant["corners"](2.6), output=plant["pattern"](1.0))
    assert [finding.severity for finding in diagnosis.findings] == [Severity.strong, Severity.mild]
    assert diagnosis.kind is ArtifactKind.pattern


def test_early_blocks_are_remarked_on_and_not_judged(diagnosed, plant):
    diagnosis = diagnosed(block0=plant["pattern"](2.0), block1=plant["pattern"](2.0))
    assert diagnosis.findings == ()
    assert any("blocks 0 and 1 contain the position" in remark for remark in diagnosis.remarks)


def test_layout_is_no_artifact(tmp_path):
    """Images with a sky have a high share upright; in windows nothing is left, so nothing is found."""
    for number in range(24):
        rng = torch.Generator().manual_seed(number)
        sky = torch.linspace(200, 0, 150)[:, None, None] + 50 * torch.rand(150, 190, 3, generator=rng)
        Image.fromarray(sky.byte().numpy()).save(tmp_path / f"{number}.png")
    report = diagnose_layers(PlantedModel(), Choice(tuple(find_images(tmp_path)), {}), DoctorConfig()).reports[-1]
    assert report.upright_share > 0.8 and report.position_share < 0.1 * report.upright_share + 0.05
    assert report.shift_error < 0.1


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.0193, "1.9 %"), (0.97, "97 %"), (0.1, "10 %"), (0.0004, "0.04 %"), (0.0, "0 %"), (1, "100 %")],
)
def test_percent(share, text):
    assert percent(share) == text


@pytest.mark.parametrize(
    ("places", "text"),
    [
        ([(0, 0), (0, 9), (7, 0), (7, 9)], "4 of 80 patches, the four corners"),
        ([(7, 9)], "1 of 80 patches, corners"),
        ([(3, 4), (5, 6)], "2 of 80 patches, at row and column (3, 4), (5, 6)"),
        ([(0, column) for column in range(10)], "10 of 80 patches, at the border"),
        ([*((0, column) for column in range(10)), (4, 4)], "11 of 80 patches, nearly all at the border"),
        ([(row, 3) for row in range(8)], "8 of 80 patches, 2 at the border and 6 inside"),
    ],
)
def test_where(places, text):
    patches = torch.zeros(8, 10, dtype=torch.bool)
    for place in places:
        patches[place] = True
    assert where(patches) == text


@pytest.mark.parametrize(
    ("blocks", "normed", "text"),
    [
        ([8, 9, 10, 11], True, "blocks 8 to 11 and block 11 + norm"),
        ([10, 11], False, "blocks 10 and 11"),
        ([7], False, "block 7"),
        ([], True, "block 11 + norm"),
    ],
)
def test_span(blocks, normed, text):
    layers = [Layer(block=block, normed=False, late=True) for block in blocks]
    assert span([*layers, *([Layer(block=11, normed=True, late=True)] if normed else [])]) == text


@pytest.mark.parametrize(("option", "value"), [("num_images", 4), ("batch_size", 0)])
def test_invalid_options(option, value):
    with pytest.raises(ConfigError, match=f"{option}={value}: give at least"):
        DoctorConfig(**{option: value})
