"""Images with boxes for detection: what is found, how it is split, and what is refused."""

import pytest
import torch
from coloured_objects import BOX, HW, mask_array, save_mask, write_davis, write_folders
from drawn_rectangles import annotation, write_rectangles

from dvt.errors import ConfigError, EvaluationError
from dvt.evaluation.config.detection import DetectionConfig, DetectorConfig
from dvt.evaluation.config.layout import Layout
from dvt.evaluation.config.objects import DataFormat
from dvt.evaluation.datasets.boxed_images import TrueBoxes, find_boxed_images, read_boxes


def split(root, **options):
    return find_boxed_images(DetectionConfig(**options), root)


def keys(scenes):
    return [scene.key for scene in scenes]


def test_voc_is_split_by_its_lists_and_has_the_classes_of_both(tmp_path):
    found = split(write_rectangles(tmp_path, train=3, test=2))
    assert found.format is DataFormat.voc and found.class_names == ("blue", "red")
    assert keys(found.train) == ["trainval000", "trainval001", "trainval002"]
    assert keys(found.test) == ["test000", "test001"]
    assert keys(split(tmp_path, num_train=2, num_test=1).train) == ["trainval000", "trainval001"]


def test_boxes_and_classes_of_an_image(tmp_path):
    write_rectangles(tmp_path, train=2, test=2)
    objects = [("red", (0, 8, 96, 64), False), ("blue", (4, 4, 20, 20), True)]
    (tmp_path / "Annotations/trainval000.xml").write_text(annotation(objects))
    found = split(tmp_path)
    image, truth = read_boxes(found.train[0], found.class_names)
    assert image.shape == (3, 64, 96) and truth.hw == (64, 96) and truth.key == "trainval000"
    assert truth.boxes.tolist() == [[0, 8, 96, 64], [4, 4, 20, 20]]
    assert truth.labels.tolist() == [1, 0] and truth.ignored.tolist() == [False, True]


def test_an_image_may_have_no_box(tmp_path):
    write_rectangles(tmp_path, train=2, test=2)
    (tmp_path / "Annotations/trainval000.xml").write_text(annotation([]))
    found = split(tmp_path)
    _, truth = read_boxes(found.train[0], found.class_names)
    assert truth.boxes.shape == (0, 4) and truth.labels.dtype == torch.int64


def test_davis_is_split_by_sequences_and_masks_become_boxes(tmp_path):
    write_davis(tmp_path, sequences=("ant", "bee", "cat", "dog", "elk", "fox"))
    found = split(tmp_path, every=2)
    assert found.format is DataFormat.davis and found.class_names == ("object",)
    assert {scene.group for scene in found.test} == {"cat", "fox"}
    assert {scene.group for scene in found.train} == {"ant", "bee", "dog", "elk"} and len(found.train) == 12
    _, truth = read_boxes(found.train[0], found.class_names)
    assert truth.boxes.tolist() == [list(BOX)] and truth.labels.tolist() == [0] and truth.hw == HW
    chosen = split(tmp_path, sequences=["ant", "bee"], test_sequences=["ant"], every=5)
    assert keys(chosen.train) == ["bee/00000"] and keys(chosen.test) == ["ant/00000"]


def test_every_object_of_a_mask_has_a_box(tmp_path):
    write_davis(tmp_path, sequences=("a", "b", "c"))
    mask = mask_array() // 255
    mask[:8, :8] = 2
    save_mask(tmp_path / "Annotations/480p/a/00000.png", mask)
    found = split(tmp_path)
    _, truth = read_boxes(found.train[0], found.class_names)
    assert truth.boxes.tolist() == [list(BOX), [0, 0, 8, 8]]


def test_mirror_images_and_images_upside_down_have_their_boxes_there():
    boxes = TrueBoxes(
        "a", (64, 96), torch.tensor([[10.0, 20, 40, 50]]), torch.zeros(1, dtype=torch.int64), torch.zeros(1).bool()
    )
    assert boxes.mirrored().boxes.tolist() == [[56, 20, 86, 50]]
    assert boxes.upside_down().boxes.tolist() == [[10, 14, 40, 44]]
    assert torch.equal(boxes.mirrored().mirrored().boxes, boxes.boxes)


@pytest.mark.parametrize("box", [(50, 0, 120, 40), (0, 50, 20, 90), (-5, 0, 20, 20), (0, 64, 20, 65)])
def test_a_box_outside_of_the_image_is_refused_with_both_sizes(tmp_path, box):
    write_rectangles(tmp_path, train=1, test=1)
    (tmp_path / "Annotations/trainval000.xml").write_text(annotation([("red", box, False)]))
    found = split(tmp_path)
    with pytest.raises(EvaluationError, match=r"trainval000.png is 96 px wide and 64 px high.*outside of the image"):
        read_boxes(found.train[0], found.class_names)


def test_a_box_may_be_one_pixel_too_long(tmp_path):
    write_rectangles(tmp_path, train=1, test=1)
    (tmp_path / "Annotations/trainval000.xml").write_text(annotation([("red", (-1, -1, 97, 65), False)]))
    found = split(tmp_path)
    assert read_boxes(found.train[0], found.class_names)[1].boxes.tolist() == [[0, 0, 96, 64]]


def test_data_without_boxes_or_classes_are_refused(tmp_path):
    write_rectangles(tmp_path, train=1, test=1)
    path = tmp_path / "Annotations/test000.xml"
    path.write_text(annotation([("red", (0, 0, 9, 9), True)]))
    with pytest.raises(EvaluationError, match="none of the 1 test images has a box that is not marked as difficult"):
        split(tmp_path)
    path.write_text(annotation([("", (0, 0, 9, 9), False)]))
    with pytest.raises(EvaluationError, match="annotation of test000 has an object without a name"):
        split(tmp_path)
    (tmp_path / "Annotations/trainval000.xml").write_text(annotation([]))
    path.write_text(annotation([("red", (0, 0, 9, 9), False)]))
    with pytest.raises(EvaluationError, match="none of the 1 training images has a box"):
        split(tmp_path)


def test_the_list_of_one_class_is_no_split(tmp_path):
    write_rectangles(tmp_path, train=1, test=1)
    (tmp_path / "ImageSets/Main/red_test.txt").write_text("test000  1\n")
    with pytest.raises(EvaluationError, match="the list of one class"):
        split(tmp_path, test_split="red_test")


def test_splits_that_share_images_or_leave_none_are_refused(tmp_path):
    write_rectangles(tmp_path / "voc", train=2, test=1)
    with pytest.raises(ConfigError, match="2 images are in both lists, such as trainval000"):
        split(tmp_path / "voc", test_split="trainval")
    with pytest.raises(EvaluationError, match=r"split=val: .* Lists in that folder: test, trainval"):
        split(tmp_path / "voc", test_split="val")
    with pytest.raises(EvaluationError, match="num_test=9, but there are 1 images"):
        split(tmp_path / "voc", num_test=9)
    write_davis(tmp_path / "davis")
    with pytest.raises(ConfigError, match=r"test_sequences=\[\] of the sequences dog, swan leaves none to test on"):
        split(tmp_path / "davis")
    with pytest.raises(ConfigError, match="leaves none to train on"):
        split(tmp_path / "davis", test_sequences=["swan", "dog"])
    with pytest.raises(ConfigError, match=r"there is no sequence cat\. There are: dog, swan"):
        split(tmp_path / "davis", test_sequences=["cat"])
    with pytest.raises(EvaluationError, match="two folders of images and masks"):
        split(write_folders(tmp_path / "folders"))


@pytest.mark.parametrize(
    ("make", "part"),
    [
        (lambda: DetectionConfig(num_steps=0), "num_steps=0: give at least 1"),
        (lambda: DetectionConfig(learning_rate=0), "learning_rate=0: give a number above 0"),
        (lambda: DetectionConfig(feature_memory_gb=-1), "feature_memory_gb=-1"),
        (lambda: DetectionConfig(layouts=[]), "layouts"),
        (lambda: DetectionConfig(layouts=[Layout.crops]), "they cut boxes"),
        (lambda: DetectionConfig(format=DataFormat.folders), "voc .boxes. or davis"),
        (lambda: DetectorConfig(channels=0), "detector.channels=0"),
        (lambda: DetectorConfig(box_convs=-1), "detector.box_convs=-1"),
    ],
)
def test_options_without_meaning_are_refused(make, part):
    with pytest.raises(ConfigError, match=part):
        make()
