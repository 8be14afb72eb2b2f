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


class Narrow:
    """A backbone on a device with memory for few images."""

    def __init__(self, backbone, room):
        self.backbone, self.room, self.batches = backbone, room, []

    def __getattr__(self, name):
        return getattr(self.backbone, name)

    def __call__(self, images):
        self.batches.append(len(images))
        if len(images) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.backbone(images)


def test_batches_are_halved_until_they_fit(small_backbone, images, caplog):
    narrow = Narrow(small_backbone(), room=2)
    pictures = images(9, 48, 80)
    with caplog.at_level(logging.WARNING, logger="dvt"):
        got = extract(narrow, pictures, batch_size=8)
    assert narrow.batches == [8, 4, 2, 2, 2, 2, 1]
    torch.testing.assert_close(got, narrow.backbone(pictures).patches, atol=1e-5, rtol=1e-5)
    assert [record.getMessage() for record in caplog.records] == [
        "out of memory on cpu: batches of 8 images are halved."
    ]


def test_one_image_that_does_not_fit(small_backbone, images):
    with pytest.raises(
        BackboneError, match=r"one image of 48 x 80 px does not fit into the memory of cpu. Use a smaller"
    ):
        extract(Narrow(small_backbone(), room=0), images(3, 48, 80))
