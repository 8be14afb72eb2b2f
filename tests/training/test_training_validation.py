"""What a validation says of feature maps."""

import pytest
import torch

from dvt.diagnosis.position import PositionShare
from dvt.training.validation import MIN_FOR_SHARE, Comparison


def means_of(count):
    rng = torch.Generator().manual_seed(0)
    maps = {name: torch.randn((count, 3, 4, 5), generator=rng) for name in ("raw", "target", "learnt")}
    comparison = Comparison(learned="learnt", target="target")
    for start in range(0, count, 2):
        comparison.update({name: each[start : start + 2] for name, each in maps.items()})
    return maps, comparison.means()


def test_distances_and_shares_are_those_of_all_maps_together():
    maps, means = means_of(MIN_FOR_SHARE)
    assert float(means["mse"]) == pytest.approx(float((maps["learnt"] - maps["target"]).square().mean()), rel=1e-5)
    cosine = torch.cosine_similarity(maps["raw"], maps["target"], dim=-1).mean()
    assert float(means["raw_cosine"]) == pytest.approx(float(cosine), abs=1e-6)
    share = PositionShare()
    share.update(maps["learnt"])
    assert means["learnt_position_share"] == pytest.approx(share.value)


def test_of_few_maps_there_is_no_share():
    _, means = means_of(MIN_FOR_SHARE - 1)
    assert set(means) == {"raw_mse", "raw_cosine", "mse", "cosine"}
