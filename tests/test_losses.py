"""feature_distance by hand."""

import torch

from dvt.losses import feature_distance


def test_by_hand():
    prediction = torch.tensor([[3.0, 4.0], [1.0, 0.0]])
    target = torch.tensor([[3.0, 4.0], [0.0, 2.0]])
    # squared errors 0 0 1 4, mean 1.25; cosines 1 and 0, mean 0.5
    torch.testing.assert_close(feature_distance(prediction, target), torch.tensor(1.25 + 0.5))
