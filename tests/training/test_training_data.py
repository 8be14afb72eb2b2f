"""Which images make up which step."""

from collections import Counter
from itertools import chain

import pytest

from dvt.errors import ConfigError
from dvt.training.data import StepBatches


def indices(batches):
    return [draw.index for draw in chain.from_iterable(batches)]


def test_every_image_comes_once_before_any_comes_again_also_across_steps():
    drawn = indices(StepBatches(num_items=10, batch_size=4, num_steps=10, seed=0))
    assert all(sorted(drawn[start : start + 10]) == list(range(10)) for start in range(0, 40, 10))


def test_passes_have_different_orders_and_so_have_seeds():
    orders = [tuple(batch) for batch in _passes(seed=0)] + [tuple(batch) for batch in _passes(seed=1)]
    assert len(set(orders)) == len(orders)
    assert list(_passes(seed=0)) == list(_passes(seed=0))


def _passes(seed):
    drawn = indices(StepBatches(num_items=20, batch_size=10, num_steps=6, seed=seed))
    return [drawn[0:20], drawn[20:40], drawn[40:60]]


@pytest.mark.parametrize("start_step", [1, 3, 7])
def test_a_resumed_run_draws_what_it_would_have_drawn(start_step):
    whole = list(StepBatches(num_items=7, batch_size=4, num_steps=8, seed=3))
    rest = list(StepBatches(num_items=7, batch_size=4, num_steps=8, seed=3, start_step=start_step))
    assert rest == whole[start_step:]


def test_processes_share_every_step_and_their_number_changes_nothing():
    alone = list(StepBatches(num_items=11, batch_size=6, num_steps=5, seed=0))
    shared = [
        list(StepBatches(num_items=11, batch_size=6, num_steps=5, seed=0, rank=r, world_size=3)) for r in range(3)
    ]
    assert [list(chain.from_iterable(parts)) for parts in zip(*shared, strict=True)] == alone


def test_draws_are_numbered_through_the_run():
    numbers = [draw.number for draw in chain.from_iterable(StepBatches(5, 3, 4, seed=0))]
    assert numbers == list(range(12))


def test_a_batch_larger_than_the_data_repeats_images():
    (batch,) = StepBatches(num_items=3, batch_size=8, num_steps=1, seed=0)
    counts = Counter(draw.index for draw in batch)
    assert sorted(counts.values()) == [2, 3, 3]


def test_a_batch_that_cannot_be_shared_is_refused():
    with pytest.raises(ConfigError, match="batch_size=10 cannot be split over 3 processes: give a multiple of 3"):
        StepBatches(10, 10, 1, seed=0, world_size=3)


def test_one_batch_is_that_of_the_first_step():
    first, *_ = StepBatches(10, 4, 5, seed=3)
    assert list(StepBatches(10, 4, 5, seed=3, one_batch=True)) == [first] * 5
    assert list(StepBatches(10, 4, 5, seed=3, one_batch=True, start_step=3)) == [first] * 2
