"""find_images: what a spec stands for, and the keys its files go by."""

import inspect
import os
from pathlib import Path

import pytest

from dvt.errors import ImageError
from dvt.images import IMAGE_EXTENSIONS, ImageFile, find_images


@pytest.fixture
def photos(tmp_path):
    """photos/ with four images, one hidden image, one hidden folder and a text."""
    folder = tmp_path / "photos"
    names = ["b.jpg", "a.PNG", "cats/tom.jpeg", "cats/old/tom.webp", ".hidden.jpg", ".cache/x.jpg", "cats/notes.md"]
    return fill(folder, names)


def fill(folder, names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def keys(spec):
    return [image.key for image in find_images(spec)]


def refused(spec):
    with pytest.raises(ImageError) as caught:
        find_images(spec)
    return str(caught.value)


ALL = ["a.PNG", "b.jpg", "cats/old/tom.webp", "cats/tom.jpeg"]


def test_folder_is_searched_sorted_and_without_hidden_files(photos):
    assert keys(photos) == ALL
    assert [image.path for image in find_images(photos)] == [photos / key for key in ALL]


@pytest.mark.parametrize("extension", IMAGE_EXTENSIONS)
def test_every_extension_is_found_in_small_and_capital_letters(tmp_path, extension):
    fill(tmp_path, [f"a{extension}", f"b{extension.upper()}"])
    assert keys(tmp_path) == [f"a{extension}", f"b{extension.upper()}"]


@pytest.mark.parametrize("spec", [".", "../photos", "../photos/../photos/"])
def test_keys_do_not_know_the_working_directory(photos, monkeypatch, spec):
    monkeypatch.chdir(photos)
    assert keys(spec) == ALL


def test_hidden_folder_is_searched_when_asked_for(photos):
    assert keys(photos / ".cache") == ["x.jpg"]


def test_single_file_goes_by_its_name(photos, monkeypatch):
    assert find_images(photos / "cats/tom.jpeg") == [ImageFile("tom.jpeg", photos / "cats/tom.jpeg")]
    monkeypatch.chdir(photos / "cats")
    assert keys("../b.jpg") == ["b.jpg"]


def test_single_file_is_taken_whatever_its_extension(photos):
    assert keys(photos / "cats/notes.md") == ["notes.md"]


def test_home(photos, monkeypatch):
    monkeypatch.setenv("HOME", str(photos))
    assert keys("~/cats") == ["old/tom.webp", "tom.jpeg"]
    assert keys("~/cats/*.jpeg") == ["tom.jpeg"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.jpg", ["b.jpg"]),
        ("*", ["a.PNG", "b.jpg"]),
        ("**/*", ALL),
        ("**/*.[jw]*", ["b.jpg", "cats/old/tom.webp", "cats/tom.jpeg"]),
        ("cats/*.jpeg", ["tom.jpeg"]),
        ("c*/tom.*", ["cats/tom.jpeg"]),
    ],
)
def test_glob(photos, monkeypatch, pattern, expected):
    assert keys(photos / pattern) == expected
    monkeypatch.chdir(photos)
    assert keys(pattern) == expected
    assert keys(f"../photos/{pattern}") == expected


def test_existing_file_with_brackets_is_not_a_glob(tmp_path):
    fill(tmp_path, ["a[1].jpg", "a1.jpg"])
    assert keys(tmp_path / "a[1].jpg") == ["a[1].jpg"]


def write_list(path, *lines, encoding="utf-8"):
    path.write_text("\n".join(map(str, lines)) + "\n", encoding=encoding)
    return path


def test_list_keeps_its_order_and_skips_comments(photos):
    lines = ["# the good ones", "", "  cats/tom.jpeg  ", "./b.jpg", "#a.PNG", "cats/../a.PNG"]
    spec = write_list(photos / "list.txt", *lines)
    assert find_images(spec) == [
        ImageFile("cats/tom.jpeg", photos / "cats/tom.jpeg"),
        ImageFile("b.jpg", photos / "./b.jpg"),
        ImageFile("a.PNG", photos / "cats/../a.PNG"),
    ]


def test_list_of_another_system(photos):
    (photos / "list.lst").write_bytes(b"\xef\xbb\xbfb.jpg\r\ncats/tom.jpeg\r\n")
    assert keys(photos / "list.lst") == ["b.jpg", "cats/tom.jpeg"]


def test_list_of_absolute_paths_goes_by_their_common_parent(photos, tmp_path):
    spec = write_list(tmp_path / "elsewhere.txt", photos / "cats/tom.jpeg", photos / "b.jpg")
    assert keys(spec) == ["cats/tom.jpeg", "b.jpg"]
    assert keys(write_list(tmp_path / "one.txt", photos / "cats/tom.jpeg")) == ["tom.jpeg"]


def test_list_lines_that_lead_out_of_its_folder(photos):
    spec = write_list(photos / "cats/list.txt", "tom.jpeg", "../b.jpg")
    assert keys(spec) == ["tom.jpeg", "b.jpg"]


def test_sequence_adds_up_in_order(photos):
    assert keys([photos / "b.jpg", str(photos / "cats")]) == ["b.jpg", "old/tom.webp", "tom.jpeg"]
    assert keys((photos / "b.jpg",)) == ["b.jpg"]


def test_file_found_twice_is_kept_once_under_its_first_key(photos, monkeypatch):
    monkeypatch.chdir(photos)
    assert keys([photos, "cats/tom.jpeg", photos / "cats/../b.jpg"]) == ALL
    assert keys(["cats/tom.jpeg", "."]) == ["tom.jpeg", "a.PNG", "b.jpg", "cats/old/tom.webp"]
    assert keys(write_list(photos / "l.txt", "b.jpg", "./b.jpg", photos / "b.jpg")) == ["b.jpg"]


def test_two_files_under_one_key_are_refused(photos):
    other = fill(photos.parent / "other", ["b.jpg"])
    text = refused([photos, other])
    assert "the same key 'b.jpg'" in text
    assert str(photos / "b.jpg") in text
    assert str(other / "b.jpg") in text
    assert "that contains both" in text


def test_linked_folder_is_followed_but_not_in_circles(photos, tmp_path):
    fill(tmp_path / "far", ["away.png"])
    (photos / "link").symlink_to(tmp_path / "far")
    (photos / "cats/loop").symlink_to(photos)
    assert keys(photos) == [*ALL, "link/away.png"]


def test_broken_link_is_listed_so_that_reading_it_fails_aloud(photos):
    (photos / "z.jpg").symlink_to(photos / "gone.jpg")
    assert keys(photos) == [*ALL, "z.jpg"]


def test_missing_path(tmp_path, monkeypatch):
    assert f"{tmp_path / 'cats'} does not exist." in refused(tmp_path / "cats")
    monkeypatch.chdir(tmp_path)
    assert f"cats does not exist in {Path.cwd()}" in refused("cats")


@pytest.mark.parametrize("spec", ["", "  "])
def test_empty_text_is_not_the_working_directory(photos, monkeypatch, spec):
    monkeypatch.chdir(photos)
    assert "an empty text" in refused(spec)


def test_empty_folder(tmp_path):
    assert f"the folder {tmp_path} is empty" in refused(tmp_path)
    fill(tmp_path, [".hidden.jpg"])
    assert "holds only hidden files" in refused(tmp_path)


def test_folder_without_images(tmp_path):
    text = refused(fill(tmp_path, ["notes.md", "sub/cat.psd"]))
    assert f"the folder {tmp_path} holds no images, but other files: 1 .md, 1 .psd." in text
    assert ".jpg .jpeg" in text


def test_glob_without_match(photos):
    text = refused(photos / "*.tif")
    assert f"the glob {photos / '*.tif'} matches nothing in {photos}" in text
    assert "capitals count" in text


def test_glob_that_matches_no_images(photos):
    text = refused(photos / "c*")
    assert "matches no images, but 1 other files or folders" in text
    assert "/**/*" in text


def test_glob_in_a_missing_folder(photos):
    assert f"looks into the folder {photos / 'dogs'}, which does not exist" in refused(photos / "dogs/*.jpg")


def test_glob_that_climbs_after_a_wildcard(photos):
    assert "'..' after a wildcard" in refused(photos / "*/../b.jpg")


def test_list_with_a_missing_file(photos):
    spec = write_list(photos / "list.txt", "# mine", "b.jpg", "dog.jpg")
    text = refused(spec)
    assert f"{spec}, line 3: {photos / 'dog.jpg'} does not exist" in text
    assert "start at the folder of the list" in text


def test_list_with_a_folder(photos):
    assert f"line 1: {photos / 'cats'} is a folder" in refused(write_list(photos / "list.txt", "cats"))


def test_list_without_entries(photos):
    assert "names no images" in refused(write_list(photos / "list.txt", "# nothing", ""))


def test_list_that_is_not_text(photos):
    assert "is not UTF-8 text" in refused(write_list(photos / "list.txt", "ü.jpg", encoding="latin-1"))


def test_empty_sequence():
    assert "the list of images is empty" in refused([])


@pytest.mark.parametrize("spec", [3, None, ["a.jpg", 3], b"a.jpg", {"a": 1}], ids=str)
def test_something_else_entirely(spec):
    with pytest.raises(ImageError, match=r"is not a list of images. Give a file, folder, glob, list file"):
        inspect.unwrap(find_images)(spec)  # for where the suite checks types at run time


def test_name_that_no_store_could_hold(tmp_path):
    (tmp_path / os.fsdecode(b"\xff.jpg")).touch()
    assert "is not valid UTF-8" in refused(tmp_path)


def test_forbidden_folder_is_named(open_folder, as_stranger):
    private = fill(open_folder / "private", ["a.jpg"])
    private.chmod(0o000)
    try:
        with as_stranger():
            text, text_of_file = refused(open_folder), refused(private / "a.jpg")
    finally:
        private.chmod(0o755)
    assert f"the folder {private} cannot be read: Permission denied" in text
    assert f"{private / 'a.jpg'} cannot be looked at: Permission denied" in text_of_file


def test_what_is_left_out_is_counted(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("dvt.images.formats.has_heif", lambda: False)
    fill(tmp_path, ["a.jpg", "b.HEIC", "c.heic", "d.dng", "labels", ".hidden", "sub/e.csv"])
    assert keys(tmp_path) == ["a.jpg"]
    (warning,) = caplog.messages
    assert warning.startswith(f"{tmp_path}: 1 images; 5 other files are left out: 2 .heic (pip install pillow-heif")
    for part in ("1 .dng", "1 .csv", "1 without extension"):
        assert part in warning
    caplog.clear()
    assert keys(tmp_path / "*") == ["a.jpg"] and "4 other files are left out" in caplog.text
    (tmp_path / "a.jpg").unlink()
    assert "2 .heic (pip install pillow-heif reads them)" in refused(tmp_path)
    caplog.clear()
    assert keys(tmp_path / "d.dng") == ["d.dng"] and not caplog.messages
    monkeypatch.setattr("dvt.images.formats.has_heif", lambda: True)
    assert keys(tmp_path) == ["b.HEIC", "c.heic"]


def test_names_that_the_locale_cannot_read_are_said_to_be_that(tmp_path, monkeypatch):
    (tmp_path / "\udce4.jpg").touch()  # Latin-1
    assert "is not valid UTF-8. Rename the file." in refused(tmp_path)
    monkeypatch.setattr("sys.getfilesystemencoding", lambda: "ascii")
    monkeypatch.setenv("LC_ALL", "C")
    assert "is not ascii, which the locale asks for (LC_ALL=C LANG=" in refused(tmp_path)
    assert "Set PYTHONUTF8=1" in refused(tmp_path)
