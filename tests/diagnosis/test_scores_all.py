"""All scores together."""

import json
import math

import pytest
import torch

from dvt.diagnosis.scores import ArtifactMeter
from dvt.errors import EvaluationError

HW = (6, 6)


def measured(change, count=24):
    """Windows of random canvases, changed in each window alike."""
    rng = torch.Generator().manual_seed(0)
    meter = ArtifactMeter("block 3", count)
    for number in range(0, count, 2):
        canvas = torch.randn(2, 8, 8, 10, generator=rng)
        first, second, whole = (
            change(part.clone()) for part in (canvas[:, :6, :6], canvas[:, 2:, 2:], canvas[:, 1:7, 1:7])
        )
        meter.update(first, second, [(2, 2), (2, 2)], whole, [number, number + 1])
    return meter.result()


def test_clean_features():
    report = measured(lambda maps: maps)
    numbers = report.numbers()
    assert abs(numbers["position share"]) < 0.02 and abs(numbers["upright share"]) < 0.05
    assert numbers["shift error"] == 0 and math.isnan(numbers["shift locked"])
    assert numbers["outliers"] == 0 and numbers["position R2"] < 0.05 and numbers["MIC"] < 0.15


def test_a_pattern_shows_in_every_score_but_the_norms():
    fixed = 2 * torch.randn(*HW, 10, generator=torch.Generator().manual_seed(1))
    numbers = measured(lambda maps: maps + fixed).numbers()
    assert numbers["position share"] == pytest.approx(0.8, abs=0.04) == numbers["upright share"]
    assert numbers["shift error"] == pytest.approx(0.8, abs=0.1) and numbers["shift locked"] > 0.95
    assert numbers["position R2"] > 0.1 and numbers["MIC"] > 0.1 and numbers["outlier energy"] < 0.05


def test_the_rest_is_without_fixed_outliers():
    def corners(maps):
        maps[:, 0, 0] = 50.0
        return maps

    report = measured(corners)
    assert report.position_share > 0.9 and abs(report.rest_share) < 0.02
    assert report.outliers.places.nonzero().tolist() == [[0, 0]]
    assert float(report.norm[0, 0]) == pytest.approx(50 * 10**0.5)


def test_json_has_five_digits_and_no_nan():
    report = measured(lambda maps: maps)
    maps, body = report.maps(), report.to_json()
    assert {each.shape for each in maps.values()} == {HW} and body["maps"].keys() == maps.keys()
    assert body["scores"]["MIC"] == float(f"{report.mic:.5g}") != report.mic
    assert body["scores"]["shift locked"] is None and body["maps"]["shift error"][0][5] is None  # no pair has it
    assert body["maps"]["norm"][2][3] == pytest.approx(float(report.norm[2, 3]), rel=1e-4)
    json.dumps(body, allow_nan=False)


def test_features_that_are_not_finite_are_named():
    meter, maps = ArtifactMeter("block 3", 4), torch.zeros(1, *HW, 10)
    with pytest.raises(EvaluationError, match=r"block 3 gives features that are NaN.*use fp32"):
        meter.update(maps, maps + math.inf, [(2, 2)], maps, [0])
