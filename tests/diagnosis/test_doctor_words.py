"""Numbers and places in words."""

import pytest
import torch

from dvt.diagnosis.layers import Layer
from dvt.diagnosis.words import percent, span, where


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
