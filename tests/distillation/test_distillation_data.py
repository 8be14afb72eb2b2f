"""The images of a distillation."""

import pytest
import torch

from dvt.distillation.config import DistillConfig, ImagesConfig
from dvt.distillation.distill import DistillImages, data_hash, split_images
from dvt.errors import ConfigError, ImageError, TrainingError
from dvt.images import find_images, read_image
from dvt.images.sources import ImageFile
from dvt.training.data import Draw


def files(count):
    from pathlib import Path

    return [ImageFile(f"{number}.jpg", Path(f"{number}.jpg")) for number in range(count)]


@pytest.fixture
def data_set(images):
    def make(flip_probability=0.5, seed=0):
        config = DistillConfig(seed=seed, dataset=ImagesConfig(flip_probability=flip_probability))
        return DistillImages(images, (64, 64), config, 10**6)

    return make


def is_flipped(shown, plain):
    assert torch.equal(shown, plain) or torch.equal(shown, plain.flip(-1))
    return not torch.equal(shown, plain)


def flips(data, numbers):
    plain = data[0]["image"]
    return [is_flipped(data[Draw(index=0, number=number)]["image"], plain) for number in numbers]


def test_an_image_is_what_the_backbone_would_be_shown(data_set, images, teacher):
    item = data_set()[3]
    assert item["key"] == "03.png"
    assert torch.equal(item["image"], teacher.preprocess(read_image(images[3].path)))
    assert item["image"].shape == (3, 64, 64)


def test_mirroring_depends_on_the_draw_and_the_seed_alone(data_set):
    whole = flips(data_set(), range(200))
    assert 70 < sum(whole) < 130
    assert flips(data_set(), range(150, 200)) == whole[150:]
    assert flips(data_set(seed=1), range(200)) != whole
    assert not any(flips(data_set(0.0), range(20))) and all(flips(data_set(1.0), range(20)))


def test_validation_images_are_not_mirrored(data_set):
    assert torch.equal(data_set(1.0)[2]["image"], data_set(0.0)[2]["image"])


def test_an_image_that_cannot_be_read_is_named(tmp_path, folder):
    whole = (folder / "00.png").read_bytes()
    (tmp_path / "half.png").write_bytes(whole[: len(whole) // 2])
    data = DistillImages(find_images(tmp_path), (64, 64), DistillConfig(), 10**6)
    with pytest.raises(ImageError, match=r"half.png is damaged(.|\n)*leave it out of images= and add allow_changes"):
        data[Draw(0, 0)]


def test_large_images_are_refused(images):
    with pytest.raises(ImageError, match=r"more than the 100 allowed"):
        DistillImages(images, (64, 64), DistillConfig(), max_pixels=100)[0]


def test_the_split_goes_by_keys():
    train, val = split_images(files(200), ImagesConfig(val_share=0.1))
    assert len(val) == 20 and sorted(train + val, key=lambda image: image.key) == sorted(
        files(200), key=lambda image: image.key
    )
    assert val == [image for image in files(200) if image in val]  # in the order given
    backwards = split_images(files(200)[::-1], ImagesConfig(val_share=0.1))
    assert set(backwards[1]) == set(val)


def test_the_validation_has_at_least_one_image_and_at_most_so_many():
    def num_val(count, **options):
        train, val = split_images(files(count), ImagesConfig(**options))
        assert len(train) + len(val) == count and train
        return len(val)

    assert num_val(2) == num_val(10) == 1
    assert num_val(3, val_share=0.99) == 2
    assert num_val(400, val_max=7) == 7
    with pytest.raises(TrainingError, match="1 image was given: one is needed to learn from and another to validate"):
        split_images(files(1), ImagesConfig())


def test_the_data_hash_is_that_of_the_keys_in_order():
    assert data_hash(files(5)) == data_hash(files(5))
    assert len({data_hash(files(5)), data_hash(files(4)), data_hash(files(5)[::-1])}) == 3


@pytest.mark.parametrize(
    ("wrong", "text"),
    [({"val_share": 0.0}, "val_share=0.0"), ({"val_max": 0}, "val_max=0"), ({"flip_probability": 1.5}, "flip_prob")],
)
def test_values_without_meaning(wrong, text):
    with pytest.raises(ConfigError, match=f"dataset.{text}"):
        ImagesConfig(**wrong)
