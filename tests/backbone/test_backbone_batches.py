"""extract: batches, and memory that does not suffice."""

import logging

import pytest
import torch

from dvt.backbone.batches import extract
from dvt.errors import BackboneError


@pytest.mark.parametrize("batch_size", [1, 3, 7, 32])
def test_equals_one_forward_pass(batch_size, small_backbone, images):
    backbone = small_backbone()
    pictures = images(7, 48, 80)
    got = extract(backbone, pictures.__getitem__, 7, batch_size)
    assert got.is_contiguous()
    torch.testing.assert_close(got, backbone(pictures).patches, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("count", "batch_size", "sizes"), [(129, 32, [26, 26, 26, 26, 25]), (9, 8, [5, 4]), (3, 8, [3])]
)
def test_batches_are_of_nearly_one_size(count, batch_size, sizes, small_backbone, images):
    backbone, pictures = small_backbone(), images(1, 48, 80)
    batches = with_room_for(count, backbone)
    extract(backbone, lambda part: pictures.expand(part.stop - part.start, -1, -1, -1), count, batch_size)
    assert batches == sizes


def test_half_precision_is_kept_in_float32(small_backbone, images):
    backbone, pictures = small_backbone(precision="bf16"), images(2, 48, 80)
    got = extract(backbone, pictures.__getitem__, 2)
    assert got.dtype == torch.float32
    assert torch.equal(got, backbone(pictures).patches.float())


def with_room_for(num_images, backbone):
    """Let a backbone run out of memory on larger batches; gives the sizes it was asked for."""
    batches = []

    def refuse(_, inputs):
        batches.append(len(inputs[0]))
        if len(inputs[0]) > num_images:
            raise torch.OutOfMemoryError("CUDA out of memory")

    backbone.register_forward_pre_hook(refuse)
    return batches


def test_batches_are_halved_until_they_fit_and_stay_so(small_backbone, images, caplog):
    backbone, pictures = small_backbone(), images(9, 48, 80)
    expected = backbone(pictures).patches
    batches = with_room_for(2, backbone)
    with caplog.at_level(logging.WARNING, logger="dvt"):
        got = extract(backbone, pictures.__getitem__, 9, batch_size=9)
        assert batches == [9, 4, 2, 2, 2, 2, 1]
        batches.clear()
        extract(backbone, pictures.__getitem__, 9, batch_size=9)
        assert batches == [2, 2, 2, 2, 1]
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)
    (record,) = caplog.records
    assert record.getMessage() == "out of memory on cpu: batches of 9 are halved."


def test_one_image_that_does_not_fit(small_backbone, images):
    backbone, pictures = small_backbone(), images(3, 48, 80)
    with_room_for(0, backbone)
    with pytest.raises(BackboneError, match=r"do not fit into the memory of cpu. Use fewer views"):
        extract(backbone, pictures.__getitem__, 3)
