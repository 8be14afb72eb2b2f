"""A diagnosis as a table, JSON and an image."""

import json

import numpy as np
import pytest

from dvt.diagnosis.figure import draw_diagnosis, painted


def test_the_table_has_a_row_per_layer(diagnosed, plant):
    diagnosis = diagnosed(block5=plant["corners"](20.0))
    lines = diagnosis.table().splitlines()
    assert len(lines) == 6 and len({len(line) for line in lines}) == 1
    heads = "layer position upright low freq R2 MIC shift locked outliers x median energy"
    assert lines[0].split() == heads.split()
    assert "-" in lines[1].split() and "nan" not in diagnosis.table()
    assert lines[4].startswith("block 5 ") and "0.0400" in lines[4]
    assert str(diagnosis).startswith(lines[0]) and str(diagnosis).endswith(diagnosis.words())


def test_json_has_numbers_maps_and_words(diagnosed, plant):
    diagnosis = diagnosed(block5=plant["corners"](20.0))
    body = diagnosis.to_json()
    json.dumps(body, allow_nan=False)
    assert body["diagnosis"]["kind"] == "high-norm outliers" and body["num_images"] == 24
    assert body["diagnosis"]["findings"][0]["layers"] == ["block 5"]
    assert body["diagnosis"]["remarks"] == list(diagnosis.remarks)
    layer = body["layers"][3]
    assert layer["name"] == "block 5" and layer["scores"]["outlier energy"] > 0.9
    assert (layer["block"], layer["normed"], layer["late"]) == (5, False, True)
    assert layer["maps"]["outliers"][0][0] == 1.0 and len(layer["maps"]["norm"]) == 10
    assert body["layers"][0]["scores"]["outlier ratio"] is None
    assert set(layer["scores"]) == set(diagnosis.reports[0].numbers())


def test_the_image_has_a_column_for_every_layer(diagnosed, plant):
    clean, ill = diagnosed(), diagnosed(output=plant["corners"](20.0))
    images = [np.asarray(draw_diagnosis(each)) for each in (clean, ill)]
    assert images[0].shape[1] == images[1].shape[1] > 800 and images[0].dtype == np.uint8
    yellow = [((image[..., 0] > 240) & (image[..., 1] > 240) & (image[..., 2] < 180)).sum() for image in images]
    report = ill.reports[-1]
    assert float(painted(report, "norm").median()) == pytest.approx(1.0, abs=0.1)
    assert float(painted(report, "norm")[0, 0]) == pytest.approx(20 / report.outliers.median, rel=1e-3)
    assert yellow[1] > yellow[0] + 200  # the corners, in the norms and in the outliers
