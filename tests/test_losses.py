"""feature_distance by hand."""

import torch

from dvt.losses import feature_distance


def test_by_hand():
    prediction = torch.tensor([[3.0, 4.0], [1.0, 0.0]])
    target = torch.tensor([[3.0, 4.0], [0.0, 2.0]])
    # squared errors 0 0 1 4, mean 1.25; cosines 1 and 0, mean 0.5
    torch.testing.assert_close(feature_distance(prediction, target), torch.tensor(1.25 + 0.5))


def test_each_vector_can_have_a_weight():
    prediction = torch.tensor([[[3.0, 4.0], [1.0, 0.0]], [[1.0, 0.0], [3.0, 4.0]]])
    target = torch.tensor([[[3.0, 4.0], [0.0, 2.0]], [[0.0, 2.0], [3.0, 4.0]]])
    # distances 0 and 2.5 + 1, 3.5 and 0, each times 1 in the first column and 2 in the second
    weighted = feature_distance(prediction, target, torch.tensor([1.0, 2.0]))
    torch.testing.assert_close(weighted, torch.tensor((0 + 2 * 3.5 + 3.5 + 0) / 4))
    plain = feature_distance(prediction, target)
    torch.testing.assert_close(feature_distance(prediction, target, torch.tensor(1.0)), plain)
