"""Which layers a page shows: as many as it holds."""

import pytest

from dvt.diagnosis.layers import Layer
from dvt.diagnosis.page import layers_that_fit
from dvt.errors import DvtError
from dvt.viz.explorer.data import require_room

LAYERS = [Layer(block=block, normed=False, late=block >= 8) for block in range(12)]


def largest(num_layers):
    """The most patches per layer that a page of three images holds with so many layers."""
    low, high = 1, 10**6
    while high - low > 1:
        middle = (low + high) // 2
        try:
            require_room(3, num_layers * middle)
            low = middle
        except DvtError:
            high = middle
    return low


@pytest.mark.parametrize(("held", "shown"), [(12, range(11, -1, -1)), (4, range(11, 7, -1)), (1, [11])])
def test_layers_are_shown_as_far_as_they_fit(held, shown):
    assert [layer.block for layer in layers_that_fit(LAYERS, 3, largest(held))] == list(shown)
    assert [layer.block for layer in layers_that_fit(LAYERS, 3, 1)] == list(range(11, -1, -1))


def test_a_layer_too_large_for_a_page_is_refused():
    with pytest.raises(DvtError, match="a page holds"):
        layers_that_fit(LAYERS, 3, largest(1) + 1)
