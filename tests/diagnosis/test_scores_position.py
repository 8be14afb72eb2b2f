import pytest
import torch

from dvt.diagnosis.scores import PositionShare


def share_of(maps, batches=1):
    share = PositionShare()
    for part in maps.chunk(batches):
        share.update(part)
    return share.value


def test_what_depends_on_position_alone_has_all_of_the_variance():
    assert share_of(torch.randn(4, 5, 3).expand(6, 4, 5, 3)) == pytest.approx(1.0)


def test_what_does_not_has_next_to_none():
    rng = torch.Generator().manual_seed(0)
    assert share_of(torch.randn(500, 4, 5, 3, generator=rng)) == pytest.approx(1 / 500, rel=0.3)


def test_a_known_mixture():
    rng = torch.Generator().manual_seed(0)
    position = torch.randn(4, 6, 8, generator=rng)
    position = (position - position.mean(dim=(0, 1))) / position.std()
    maps = 3.0 * position + torch.randn(2000, 4, 6, 8, generator=rng)
    assert share_of(maps) == pytest.approx(9 / 10, abs=0.01)


def test_a_constant_is_no_artifact_and_batches_do_not_matter():
    rng = torch.Generator().manual_seed(0)
    maps = torch.randn(12, 4, 4, 3, generator=rng)
    assert share_of(maps + 100.0) == pytest.approx(share_of(maps), rel=1e-4)
    assert share_of(maps, batches=5) == pytest.approx(share_of(maps))


def test_maps_without_any_variance_have_none():
    assert share_of(torch.ones(3, 2, 2, 4)) == 0.0


def test_the_map_says_where_and_its_mean_is_the_share():
    rng = torch.Generator().manual_seed(0)
    maps = torch.randn(300, 4, 6, 8, generator=rng)
    maps[:, 0, 2] += 5.0
    share = PositionShare()
    share.update(maps)
    assert float(share.map.mean()) == pytest.approx(share.value)
    assert share.map.argmax() == 2 and share.map[0, 2] > 10 * share.map[2, 3]


def test_without_the_patches_that_hold_it_nothing_is_left():
    rng = torch.Generator().manual_seed(0)
    maps = torch.randn(300, 4, 6, 8, generator=rng)
    maps[:, 0, 2] += 5.0
    share, rest = PositionShare(), torch.ones(4, 6, dtype=torch.bool)
    share.update(maps)
    rest[0, 2] = False
    assert share.value > 0.3 and share.over(rest) == pytest.approx(1 / 300, rel=0.3)
    assert share.over(torch.ones_like(rest)) == share.value
