"""What is kept at a time, and what happens where it does not fit."""

import logging

import pytest
import torch
from planted_vit import coarse
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dvt.srt.backbone import SrtBackbone
from dvt.srt.config import Aggregate, SrtConfig


class LargestSum(TorchDispatchMode):
    """The most bytes that results of operations held at one time."""

    def __init__(self):
        super().__init__()
        self.most, self._alive = 0, {}

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                storage = leaf.untyped_storage()
                self._alive[storage.data_ptr()] = (StorageWeakRef(storage), storage.nbytes())
        self._alive = {place: held for place, held in self._alive.items() if not held[0].expired()}
        self.most = max(self.most, sum(size for _, size in self._alive.values()))
        return result


def most_bytes(backbone, images, aggregate, max_shift):
    config = SrtConfig(max_shift=max_shift, aggregate=aggregate, batch_size=8)
    wrapped = SrtBackbone(backbone, config)
    with LargestSum() as sum_:
        wrapped(images)
    return sum_.most


@pytest.mark.parametrize("aggregate", Aggregate)
def test_memory_of_the_mean_does_not_grow_with_the_shifts(aggregate, planted, make_images):
    """25 views in batches of eight, or 49; the images of the latter have a wider margin."""
    backbone, images = planted(coarse, 4, (16, 64)), make_images(1, 16, 64)
    few, many = (most_bytes(backbone, images, aggregate, max_shift) for max_shift in (2, 3))
    margin = 3 * (22 * 70 - 20 * 68) * 4
    kept = (49 - 25) * backbone(images).patches.nbytes
    assert 2 * margin < kept / 2
    if aggregate is Aggregate.mean:
        assert many <= few + 2 * margin
    else:
        assert many > few + kept / 2  # it keeps them all, and the count sees it


def test_batches_are_halved_when_memory_runs_out(planted, make_images, caplog):
    def small_memory(windows):
        if len(windows) > 6:
            raise torch.OutOfMemoryError("6 at most")
        return coarse(windows)

    backbone, images = planted(small_memory), make_images(2, 12, 20)
    with caplog.at_level(logging.WARNING):
        given = SrtBackbone(backbone, SrtConfig(max_shift=1, batch_size=16))(images)
    expected = SrtBackbone(planted(coarse), SrtConfig(max_shift=1))(images)
    torch.testing.assert_close(given.patches, expected.patches)
    assert backbone.seen == [2, 16, 8, 4, 4, 4, 4] and "srt.batch_size is lowered to 4" in caplog.text


def test_the_error_is_raised_if_one_shift_does_not_fit(planted, make_images):
    def full_after_three(windows):
        if len(backbone.seen) > 3:
            raise torch.OutOfMemoryError("full")
        return coarse(windows)

    backbone = planted(full_after_three)
    with pytest.raises(torch.OutOfMemoryError, match="full"):
        SrtBackbone(backbone, SrtConfig(max_shift=1, batch_size=1))(make_images(1, 12, 20))
    assert backbone.seen == [1] * 4
