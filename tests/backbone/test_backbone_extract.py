"""extract: batches, targets, and memory that does not suffice."""

import logging

import pytest
import torch

from dvt.backbone.extract import extract
from dvt.errors import BackboneError


@pytest.mark.parametrize("batch_size", [1, 3, 7, 32])
def test_equals_one_forward_pass(batch_size, small_backbone, images):
    backbone = small_backbone()
    pictures = images(7, 48, 80)
    got = extract(backbone, pictures, batch_size)
    assert got.is_contiguous()
    torch.testing.assert_close(got, backbone(pictures).patches, atol=1e-5, rtol=1e-5)


def test_writes_where_it_is_told(small_backbone, images):
    backbone = small_backbone(precision="bf16")
    out = torch.full((2, 3, 5, 64), -1.0)
    assert extract(backbone, images(2, 48, 80), out=out) is out
    assert torch.equal(out, extract(backbone, images(2, 48, 80)).float())
    assert extract(backbone, images(2, 48, 80)).dtype == torch.bfloat16


def test_no_images(small_backbone):
    assert extract(small_backbone(), torch.empty(0, 3, 48, 80)).shape == (0, 3, 5, 64)


def with_room_for(num_images, backbone):
    """Let a backbone run out of memory on larger batches; gives the sizes it was asked for."""
    batches = []

    def refuse(_, inputs):
        batches.append(len(inputs[0]))
        if len(inputs[0]) > num_images:
            raise torch.OutOfMemoryError("CUDA out of memory")

    backbone.register_forward_pre_hook(refuse)
    return batches


def test_batches_are_halved_until_they_fit(small_backbone, images, caplog):
    backbone, pictures = small_backbone(), images(9, 48, 80)
    expected = backbone(pictures).patches
    batches = with_room_for(2, backbone)
    with caplog.at_level(logging.WARNING, logger="dvt"):
        got = extract(backbone, pictures, batch_size=8)
    assert batches == [8, 4, 2, 2, 2, 2, 1]
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)
    (record,) = caplog.records
    assert record.getMessage() == "out of memory on cpu: batches of 8 images are halved."


def test_one_image_that_does_not_fit(small_backbone, images):
    backbone = small_backbone()
    with_room_for(0, backbone)
    with pytest.raises(BackboneError, match=r"one image of 48 x 80 px does not fit into the memory of cpu. Use a"):
        extract(backbone, images(3, 48, 80))
