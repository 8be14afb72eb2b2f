"""Pictures with depth: 7-Scenes and NYUv2 as they lie on disk, and what is said when they do not."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dvt.errors import EvaluationError
from dvt.evaluation.config.depth import SevenScenesConfig
from dvt.evaluation.datasets.depth import EIGEN_BOX, NYU_BORDER_BOX, crop_box, keep_box, read_depth
from dvt.evaluation.datasets.nyuv2 import find_nyuv2
from dvt.evaluation.datasets.samples import FileSamples, SampleFiles
from dvt.evaluation.datasets.sevenscenes import find_sevenscenes, split_blocks

PLAIN = SevenScenesConfig()


def write_pair(picture, depth, value=1500, hw=(6, 8)):
    picture.parent.mkdir(parents=True, exist_ok=True)
    depth.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*hw, 3), value % 251, np.uint8)).save(picture)
    Image.fromarray(np.full(hw, value, np.uint16)).save(depth)


def write_frames(folder, numbers, ending="jpg"):
    for number in numbers:
        stem = f"frame-{number:06}"
        write_pair(folder / f"{stem}.color.{ending}", folder / f"{stem}.depth.png", 1000 + number)


def numbers(files):
    return [int(file.key[-6:]) for file in files]


def files(count):
    return [SampleFiles(f"frame-{number:06}", None, None) for number in range(count)]


@pytest.mark.other_types
def test_blocks_by_hand():
    train, test = split_blocks(files(30), SevenScenesConfig(num_blocks=10, test_every=3, gap=2))
    assert numbers(test) == [6, 7, 8, 15, 16, 17, 24, 25, 26]
    assert numbers(train) == [0, 1, 2, 3, 11, 12, 20, 21, 29]


@pytest.mark.other_types
@settings(deadline=None, max_examples=50)
@given(st.integers(1, 200), st.integers(2, 12), st.integers(2, 12), st.integers(0, 9))
def test_no_training_frame_is_near_a_test_frame(count, num_blocks, test_every, gap):
    config = SevenScenesConfig(num_blocks=max(num_blocks, test_every), test_every=test_every, gap=gap)
    train, test = map(numbers, split_blocks(files(count), config))
    assert all(abs(one - other) > gap for one in train for other in test)
    assert len(train) + len(test) <= count and train == sorted(train)


def test_a_flat_folder_of_frames(tmp_path):
    write_frames(tmp_path, range(0, 300, 10))
    (tmp_path / "camera-intrinsics.txt").write_text("585 0 320")
    train, test, split = find_sevenscenes(tmp_path, SevenScenesConfig(gap=1))
    assert numbers(test) == [60, 70, 80, 150, 160, 170, 240, 250, 260]
    assert numbers(train) == [0, 10, 20, 30, 40, 100, 110, 120, 130, 190, 200, 210, 220, 280, 290]
    assert "10 blocks" in split and "1 frames" in split
    sample = FileSamples(train, read_depth)[2]
    assert sample.key == "frame-000020"
    assert sample.image.shape == (3, 6, 8) and torch.equal(sample.target, torch.full((6, 8), 1.02))


def test_the_official_layout_with_its_lists(tmp_path):
    for sequence in (1, 2, 3):
        write_frames(tmp_path / f"seq-0{sequence}", range(4), "png")
    (tmp_path / "TrainSplit.txt").write_text("sequence1\nsequence3\n")
    (tmp_path / "TestSplit.txt").write_text("seq-02\n")
    train, test, split = find_sevenscenes(tmp_path, PLAIN)
    assert [file.key for file in test] == [f"seq-02/frame-00000{number}" for number in range(4)]
    assert len(train) == 8 and split == "TrainSplit.txt and TestSplit.txt"
    (tmp_path / "TestSplit.txt").write_text("sequence4\n")
    with pytest.raises(EvaluationError, match=r"TestSplit.txt names sequence4, and there are no frames in .*seq-04"):
        find_sevenscenes(tmp_path, PLAIN)
    (tmp_path / "TestSplit.txt").write_text("\n")
    with pytest.raises(EvaluationError, match=r"TestSplit.txt is empty"):
        find_sevenscenes(tmp_path, PLAIN)


def test_the_official_layout_without_lists_is_split_within_each_sequence(tmp_path):
    for sequence in (1, 2):
        write_frames(tmp_path / f"seq-0{sequence}", range(10))
    train, test, _ = find_sevenscenes(tmp_path, SevenScenesConfig(num_blocks=2, test_every=2, gap=1))
    assert [file.key for file in test] == [f"seq-0{s}/frame-00000{n}" for s in (1, 2) for n in range(5, 10)]
    assert [file.key for file in train] == [f"seq-0{s}/frame-00000{n}" for s in (1, 2) for n in range(4)]


def test_what_a_folder_without_frames_gets(tmp_path):
    (tmp_path / "seq-01.zip").write_text("packed")
    with pytest.raises(
        EvaluationError, match=r"no frames of 7-Scenes: looked for frame-XXXXXX.depth.png .* \(unpacked"
    ):
        find_sevenscenes(tmp_path, PLAIN)
    with pytest.raises(EvaluationError, match="no frames of 7-Scenes"):
        find_sevenscenes(tmp_path / "nothing", PLAIN)


def test_a_frame_without_picture_and_a_recording_that_is_too_short(tmp_path):
    write_frames(tmp_path, range(4))
    with pytest.raises(EvaluationError, match="4 frames split into 10 blocks with a gap of 5 leave 0 for training"):
        find_sevenscenes(tmp_path, PLAIN)
    (tmp_path / "frame-000002.color.jpg").unlink()
    with pytest.raises(
        EvaluationError, match=r"frame-000002.depth.png has no image: frame-000002.color.jpg and .* 1 of 4"
    ):
        find_sevenscenes(tmp_path, PLAIN)


def test_frames_without_depth_are_named(tmp_path):
    write_frames(tmp_path, range(30))
    for number in (7, 9):
        (tmp_path / f"frame-{number:06}.depth.png").unlink()
    with pytest.raises(
        EvaluationError, match=r"frame-000007.color.jpg has no depth: frame-000007.depth.png is missing. .* 2 of 30 fr"
    ):
        find_sevenscenes(tmp_path, PLAIN)


def test_a_sequence_that_is_not_unpacked_is_named(tmp_path):
    for sequence in (1, 3):
        write_frames(tmp_path / f"seq-0{sequence}", range(30))
    (tmp_path / "seq-02").mkdir()
    with pytest.raises(EvaluationError, match=r"1 of the 3 sequences in .* hold no frames \(first: seq-02\)"):
        find_sevenscenes(tmp_path, PLAIN)


def test_lists_that_share_a_sequence_or_stand_alone_are_refused(tmp_path):
    for sequence in (1, 2):
        write_frames(tmp_path / f"seq-0{sequence}", range(4))
    (tmp_path / "TrainSplit.txt").write_text("sequence1\nsequence2\n")
    with pytest.raises(EvaluationError, match=r"has TrainSplit.txt alone. Give both TrainSplit.txt and TestSplit.txt"):
        find_sevenscenes(tmp_path, PLAIN)
    (tmp_path / "TestSplit.txt").write_text("seq-02\n")
    with pytest.raises(EvaluationError, match=r"^seq-02 is in .*TrainSplit.txt and in .*TestSplit.txt"):
        find_sevenscenes(tmp_path, PLAIN)
    (tmp_path / "TrainSplit.txt").write_text("sequence1\nseq-01\n")
    with pytest.raises(EvaluationError, match=r"TrainSplit.txt names seq-01 twice"):
        find_sevenscenes(tmp_path, PLAIN)


LINES = {
    "train": "/kitchen_0028b/rgb_00045.jpg /kitchen_0028b/sync_depth_00045.png 518.8579\n",
    "test": "bathroom/rgb_00001.jpg bathroom/sync_depth_00001.png 518.8579\n\n",
}


def write_nyu(root, names, folders):
    for split in ("train", "test"):
        (root / names[split]).write_text(LINES[split])
        picture, depth = (root / folders[split] / name.lstrip("/") for name in LINES[split].split()[:2])
        write_pair(picture, depth)


@pytest.mark.parametrize(
    "names, folders",
    [
        ({"train": "nyu_train.txt", "test": "nyu_test.txt"}, {"train": ".", "test": "."}),
        ({"train": "nyu_train.txt", "test": "nyu_test.txt"}, {"train": "train", "test": "test"}),
        (
            {"train": "nyudepthv2_train_files_with_gt.txt", "test": "nyudepthv2_test_files_with_gt.txt"},
            {"train": "sync", "test": "official_splits/test"},
        ),
    ],
)
def test_nyuv2_as_it_is_handed_around(tmp_path, names, folders):
    write_nyu(tmp_path, names, folders)
    (train,), (test,) = find_nyuv2(tmp_path)
    assert train.key == "kitchen_0028b/rgb_00045.jpg" and test.key == "bathroom/rgb_00001.jpg"
    assert FileSamples([test], read_depth)[0].target.unique().tolist() == [1.5]


def test_what_a_folder_without_nyuv2_gets(tmp_path):
    with pytest.raises(EvaluationError, match=r"looked for nyu_train.txt or nyudepthv2_train"):
        find_nyuv2(tmp_path)
    write_nyu(tmp_path, {"train": "nyu_train.txt", "test": "nyu_test.txt"}, {"train": ".", "test": "."})
    (tmp_path / "bathroom/sync_depth_00001.png").unlink()
    with pytest.raises(EvaluationError, match=r"1 of the 2 files .* missing .*first: bathroom/sync_depth_00001.png"):
        find_nyuv2(tmp_path)
    (tmp_path / "bathroom/rgb_00001.jpg").unlink()
    with pytest.raises(EvaluationError, match=r"begins with bathroom/rgb_00001.jpg, which is in none of"):
        find_nyuv2(tmp_path)
    (tmp_path / "nyu_test.txt").write_text("one_word\n")
    with pytest.raises(EvaluationError, match=r"nyu_test.txt, line 1: 'one_word'"):
        find_nyuv2(tmp_path)
    (tmp_path / "nyu_test.txt").write_text("\n")
    with pytest.raises(EvaluationError, match=r"nyu_test.txt is empty"):
        find_nyuv2(tmp_path)


def test_depth_is_metres_and_unknown_is_zero(tmp_path):
    values = np.array([[0, 1, 999], [1000, 65534, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / "depth.png")
    depth = read_depth(tmp_path / "depth.png")
    assert depth.dtype == torch.float32
    torch.testing.assert_close(depth, torch.tensor([[0, 0.001, 0.999], [1, 65.534, 0]]))


def test_depth_files_of_another_kind_are_named(tmp_path):
    path = tmp_path / "depth.png"
    Image.fromarray(np.zeros((2, 2), np.uint8)).save(path)
    with pytest.raises(EvaluationError, match=r"depth.png is a PNG of mode L. Expected depth as a 16-bit grey PNG"):
        read_depth(path)
    Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(path)
    with pytest.raises(EvaluationError, match="mode RGB"):
        read_depth(path)
    path.write_bytes(b"no picture")
    with pytest.raises(EvaluationError, match="not a PNG"):
        read_depth(path)
    Image.fromarray(np.random.default_rng(0).integers(0, 60000, (64, 64)).astype(np.uint16)).save(path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(EvaluationError, match="cannot be read"):
        read_depth(path)
    with pytest.raises(EvaluationError, match="cannot be read"):
        read_depth(tmp_path / "missing.png")


def test_the_boxes_of_nyuv2(tmp_path):
    write_pair(tmp_path / "rgb.jpg", tmp_path / "depth.png", hw=(480, 640))
    file = SampleFiles("a", tmp_path / "rgb.jpg", tmp_path / "depth.png")
    kept = FileSamples([file], read_depth, lambda each: keep_box(each, EIGEN_BOX))[0]
    rows, columns = kept.target.nonzero().unbind(1)
    assert kept.image.shape == (3, 480, 640)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (45, 470, 41, 600)
    assert len(rows) == 426 * 560
    cropped = FileSamples([file], read_depth, lambda each: crop_box(each, NYU_BORDER_BOX))[0]
    assert cropped.image.shape == (3, 427, 565) and cropped.target.shape == (427, 565)
    write_pair(tmp_path / "rgb.jpg", tmp_path / "depth.png", hw=(240, 320))
    with pytest.raises(EvaluationError, match=r"rgb.jpg and .*depth.png: 240 x 320 px, .* made for 480 x 640"):
        FileSamples([file], read_depth, lambda each: keep_box(each, EIGEN_BOX))[0]


@pytest.mark.other_types
def test_evenly_spaced_takes_pictures_from_the_whole_list():
    pictures = FileSamples(files(10), read_depth)
    assert len(pictures.evenly_spaced(None, "num_test")) == 10 and len(pictures.evenly_spaced(10, "num_test")) == 10
    assert numbers(pictures.evenly_spaced(4, "num_test").files) == [0, 2, 5, 7]
    with pytest.raises(EvaluationError, match="num_test=11, but there are 10 images"):
        pictures.evenly_spaced(11, "num_test")
