"""Every planted artifact gets its name; without one there is none."""

import json

import pytest
import torch

from dvt.diagnosis.advice import advise
from dvt.diagnosis.config import DoctorConfig
from dvt.diagnosis.finding import Kind, Severity
from dvt.diagnosis.report import table, to_json, words
from dvt.diagnosis.scores import ArtifactReport
from dvt.errors import ConfigError


def kinds(diagnosis):
    return [(finding.kind, finding.severity) for finding in diagnosis.findings]


def names(finding):
    return [layer.name for layer in finding.layers]


def test_clean_features_have_none(examined):
    examination, diagnosis = examined()
    assert diagnosis.findings == () and diagnosis.kind is Kind.none
    assert words(diagnosis).startswith("No artifact")
    advice = advise(diagnosis, examination, backbone="backbone=x", images="photos")
    assert advice[0].startswith("There is nothing to remove") and "dvt evaluate" in advice[-1]


@pytest.mark.parametrize(("size", "severity"), [(0.35, Severity.mild), (1.0, Severity.strong)])
def test_a_static_pattern(examined, plant, size, severity):
    examination, diagnosis = examined(block4=plant["pattern"](size), output=plant["pattern"](size))
    assert kinds(diagnosis) == [(Kind.pattern, severity)]
    (finding,) = diagnosis.findings
    assert names(finding) == ["block 4", "block 5 + norm"] and finding.at_output and finding.fixed
    share = max(examination.reports[place].rest_share for place in (2, 4))
    assert f"position explains {share:.3f} of the variance" in finding.text
    advice = "\n".join(advise(diagnosis, examination, backbone="backbone=x", images="photos"))
    assert "dvt decompose images=photos store=runs/store backbone=x" in advice and "dvt train" in advice
    assert ("it is mild" in advice) == (severity is Severity.mild)


@pytest.mark.parametrize(("size", "severity"), [(0.6, Severity.mild), (2.0, Severity.strong)])
def test_a_ramp(examined, plant, size, severity):
    examination, diagnosis = examined(output=plant["slope"](size))
    assert kinds(diagnosis) == [(Kind.ramp, severity)]
    assert "lowest frequencies" in diagnosis.findings[0].text
    assert "method=srt, which cannot" in "\n".join(advise(diagnosis, examination, backbone="b", images="i"))


@pytest.mark.parametrize(("size", "severity"), [(2.6, Severity.mild), (10.0, Severity.strong)])
def test_outliers_at_fixed_places(examined, plant, size, severity):
    examination, diagnosis = examined(block5=plant["corners"](size))
    assert kinds(diagnosis)[0] == (Kind.outliers, severity) and len(diagnosis.findings) == 1
    (finding,) = diagnosis.findings
    assert finding.fixed and not finding.at_output and names(finding) == ["block 5"]
    assert "4 of 100 patches, the four corners" in finding.text
    advice = "\n".join(advise(diagnosis, examination, backbone="b", images="i"))
    assert "Read the features after the final norm" in advice and "block 5 + norm itself has none of it" in advice


def test_outliers_that_move(examined, plant):
    examination, diagnosis = examined(block5=plant["wandering"](30.0), output=plant["wandering"](30.0))
    assert kinds(diagnosis) == [(Kind.outliers, Severity.strong)]
    assert not diagnosis.findings[0].fixed and "in other places from picture to picture" in diagnosis.findings[0].text
    advice = "\n".join(advise(diagnosis, examination, backbone="b", images="i"))
    assert "ViT with registers" in advice and "dvt decompose" not in advice


def test_a_pattern_at_a_few_patches(examined, plant):
    """Too few to move the share of the whole grid, and no outliers: they have the norm of the others."""
    _, diagnosis = examined(output=plant["corners"](0.9))
    assert kinds(diagnosis) == [(Kind.pattern, Severity.mild)]
    assert "4 of 100 patches, the four corners" in diagnosis.findings[0].text


def test_a_ramp_behind_outliers_is_seen(examined, plant):
    def both(maps, images):
        return plant["corners"](20.0)(plant["slope"](2.0)(maps, images), images)

    _, diagnosis = examined(output=both)
    assert set(kinds(diagnosis)) == {(Kind.outliers, Severity.strong), (Kind.ramp, Severity.strong)}
    assert "not counting the places of outliers" in diagnosis.findings[1].text


def test_strong_before_mild(examined, plant):
    _, diagnosis = examined(block4=plant["corners"](2.6), output=plant["pattern"](1.0))
    assert [finding.severity for finding in diagnosis.findings] == [Severity.strong, Severity.mild]
    assert diagnosis.kind is Kind.pattern


def test_early_blocks_are_remarked_on_and_not_judged(examined, plant):
    _, diagnosis = examined(block0=plant["pattern"](2.0), block1=plant["pattern"](2.0))
    assert diagnosis.findings == ()
    assert any("blocks 0 and 1 hold the position" in remark for remark in diagnosis.remarks)


def test_layout_is_no_artifact(examined, photos, tmp_path):
    """Pictures with a sky give a high share upright; in windows nothing is left, and so nothing is found."""
    from PIL import Image

    for number, photo in enumerate(photos):
        rng = torch.Generator().manual_seed(number)
        sky = torch.linspace(200, 0, 150)[:, None, None] + 50 * torch.rand(150, 190, 3, generator=rng)
        Image.fromarray(sky.byte().numpy()).save(photo.path)
    report = examined()[0].reports[-1]
    assert report.upright_share > 0.8 and report.position_share < 0.1 * report.upright_share + 0.05
    assert report.shift_error < 0.1


def test_the_table_has_a_row_a_layer(examined, plant):
    examination, _ = examined(block5=plant["corners"](20.0))
    lines = table(examination).splitlines()
    assert len(lines) == 6 and len({len(line) for line in lines}) == 1
    assert lines[0].split() == [
        *(
            "layer",
            "position",
            "upright",
            "low",
            "freq",
            "R2",
            "MIC",
            "shift",
            "locked",
            "outliers",
            "x",
            "median",
            "energy",
        )
    ]
    assert "-" in lines[1].split() and "nan" not in table(examination)
    assert lines[4].startswith("block 5 ") and "0.0400" in lines[4]


def test_json_holds_numbers_maps_and_words(examined, plant):
    examination, diagnosis = examined(block5=plant["corners"](20.0))
    body = json.loads(to_json(examination, diagnosis, ["do"], {"dvt": "0"}))
    assert body["diagnosis"]["kind"] == "high-norm outliers" and body["num_images"] == 24
    layer = body["layers"][3]
    assert layer["name"] == "block 5" and layer["scores"]["outlier energy"] > 0.9
    assert layer["maps"]["outliers"][0][0] == 1.0 and len(layer["maps"]["norm"]) == 10
    assert body["layers"][0]["scores"]["outlier ratio"] is None
    assert set(layer["scores"]) == set(ArtifactReport.numbers(examination.reports[0]))


@pytest.mark.parametrize(("option", "value"), [("num_images", 4), ("batch_size", 0)])
def test_values_without_meaning(option, value):
    with pytest.raises(ConfigError, match=f"{option}={value}: give at least"):
        DoctorConfig(**{option: value})
