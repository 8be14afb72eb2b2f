"""Sequences and masks as they lie on disk, and what is said when they do not."""

import numpy as np
import pytest
from PIL import Image

from dvt.errors import EvaluationError
from dvt.evaluation.datasets.davis import find_sequences


def write_sequence(root, name, count=4, hw=(6, 8)):
    frames, masks = root / "JPEGImages/480p" / name, root / "Annotations/480p" / name
    frames.mkdir(parents=True)
    masks.mkdir(parents=True)
    for number in range(count):
        Image.new("RGB", hw[::-1]).save(frames / f"{number:05}.jpg")
        Image.fromarray(np.full(hw, 255, np.uint8)).save(masks / f"{number:05}.png")


def names(found):
    return [sequence.name for sequence in found[0]]


def test_all_folders_where_there_is_no_list(tmp_path):
    for name in ("dog", "bear"):
        write_sequence(tmp_path, name)
    found, source = find_sequences(tmp_path, [], None)
    assert [sequence.name for sequence in found] == ["bear", "dog"] and source == "all folders"
    # The last frame is not scored: neither it nor its mask is needed.
    assert [path.name for path in found[0].frames] == ["00000.jpg", "00001.jpg", "00002.jpg"]
    assert [path.name for path in found[0].masks] == ["00000.png", "00001.png", "00002.png"]
    (tmp_path / "Annotations/480p/bear/00003.png").unlink()
    assert find_sequences(tmp_path, [], None)[0] == found


def test_the_lists_of_davis(tmp_path):
    for name in ("dog", "bear", "camel"):
        write_sequence(tmp_path, name)
    for year, text in (
        ("480p", "/JPEGImages/480p/dog/00000.jpg /Annotations/480p/dog/00000.png\n" * 2),
        ("2016", "camel\n"),
        ("2017", "bear\ncamel\n\n"),
    ):
        (tmp_path / "ImageSets" / year).mkdir(parents=True)
        (tmp_path / "ImageSets" / year / "val.txt").write_text(text)
        expected = {"480p": ["dog"], "2016": ["camel"], "2017": ["bear", "camel"]}[year]
        found = find_sequences(tmp_path, [], None)
        assert names(found) == expected and found[1] == f"ImageSets/{year}/val.txt"
    assert names(find_sequences(tmp_path, ["dog"], None)) == ["dog"]
    (tmp_path / "ImageSets/2017/val.txt").write_text("\n")
    with pytest.raises(EvaluationError, match=r"2017/val.txt is empty"):
        find_sequences(tmp_path, [], None)
    (tmp_path / "ImageSets/2017/val.txt").write_text("horse\n")
    with pytest.raises(EvaluationError, match=r"no sequence horse \(ImageSets/2017/val.txt\). It has bear, camel, dog"):
        find_sequences(tmp_path, [], None)


def test_fewer_frames(tmp_path):
    write_sequence(tmp_path, "dog", count=9)
    ((sequence,), _) = find_sequences(tmp_path, [], 5)
    assert len(sequence.frames) == len(sequence.masks) == 4


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(EvaluationError, match=r"no folder JPEGImages/480p: looked for JPEGImages/480p/<sequence>/0000"):
        find_sequences(tmp_path, [], None)
    (tmp_path / "JPEGImages/480p").mkdir(parents=True)
    with pytest.raises(EvaluationError, match="no folder Annotations/480p"):
        find_sequences(tmp_path, [], None)
    (tmp_path / "Annotations/480p").mkdir(parents=True)
    with pytest.raises(EvaluationError, match="holds no sequences"):
        find_sequences(tmp_path, [], None)
    with pytest.raises(EvaluationError, match=r"has no sequence cat \(as given\). It has none"):
        find_sequences(tmp_path, ["cat"], None)
    write_sequence(tmp_path, "dog")
    (tmp_path / "Annotations/480p/dog/00001.png").unlink()
    with pytest.raises(EvaluationError, match=r"dog: 1 of 3 masks are missing \(first: .*dog/00001.png\)"):
        find_sequences(tmp_path, [], None)
    (tmp_path / "JPEGImages/480p/dog/00003.jpg").unlink()
    (tmp_path / "JPEGImages/480p/dog/00002.jpg").unlink()
    with pytest.raises(EvaluationError, match=r"holds 2 frames. Expected at least 3"):
        find_sequences(tmp_path, [], None)
