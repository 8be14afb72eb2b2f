"""Image and video files: content, atomic replacement, errors. Videos are read again, frame by frame."""

import errno
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin

from dvt import files
from dvt.errors import DvtError, ImageError
from dvt.images.video import BufferedVideo, Video, is_video
from dvt.viz import save_png, write_video

IMAGE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8))


def test_png_keeps_every_pixel_and_makes_folders(tmp_path):
    save_png(IMAGE, tmp_path / "a/b/out.png")
    with Image.open(tmp_path / "a/b/out.png") as read:
        assert read.format == "PNG"
        assert np.array_equal(np.asarray(read), np.asarray(IMAGE))
    assert [path.name for path in (tmp_path / "a/b").iterdir()] == ["out.png"]


@pytest.mark.parametrize("name", ["out.jpg", "out.JPEG"])
def test_the_ending_selects_jpeg(tmp_path, name):
    save_png(IMAGE.convert("RGBA"), str(tmp_path / name))
    with Image.open(tmp_path / name) as read:
        assert read.format == "JPEG"
        assert np.abs(np.asarray(read).astype(int) - np.asarray(IMAGE)).mean() < 8


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_equal_images_give_equal_bytes_without_their_metadata(tmp_path, suffix):
    marked = IMAGE.copy()
    marked.info = {"dpi": (72, 72), "comment": b"made on a monday", "icc_profile": b"x" * 10}
    text = PngImagePlugin.PngInfo()
    text.add_text("date", "monday")
    save_png(IMAGE, tmp_path / f"a{suffix}")
    save_png(marked, tmp_path / f"b{suffix}")
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()
    assert marked.info["dpi"] == (72, 72)


def write(path, value):
    """Write a plain image or video of one grey value."""
    image = Image.new("RGB", (20, 12), (value,) * 3)
    if path.suffix in (".mp4", ".gif"):
        write_video(path, [image] * 3, 10)
    else:
        save_png(image, path)


def full_disk(descriptor):
    raise OSError(errno.ENOSPC, "No space left on device")


def interrupt(descriptor):
    raise KeyboardInterrupt


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.gif", "a.mp4"])
@pytest.mark.parametrize(("fault", "error"), [(full_disk, DvtError), (interrupt, KeyboardInterrupt)])
def test_an_older_file_survives_a_write_that_fails_or_is_interrupted(tmp_path, monkeypatch, name, fault, error):
    path = tmp_path / name
    write(path, 50)
    before = path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", fault)  # the last step before the file gets its name
        with pytest.raises(error):
            write(path, 200)
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == [name]
    write(path, 200)
    assert path.read_bytes() != before


def test_an_older_file_survives_an_image_that_cannot_be_encoded(tmp_path):
    path = tmp_path / "out.png"
    save_png(IMAGE, path)
    before = path.read_bytes()
    with pytest.raises(DvtError, match=r"out\.png cannot be written: cannot write mode F as PNG"):
        save_png(Image.new("F", (2, 2)), path)
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["out.png"]


@pytest.mark.parametrize("name", ["out", "out.gif", "out.png.tmp"])
def test_other_endings_are_refused(tmp_path, name):
    with pytest.raises(DvtError, match=r"Give a name that ends in \.png or \.jpg"):
        save_png(IMAGE, tmp_path / name)
    assert not any(tmp_path.iterdir())


def test_file_in_the_place_of_a_folder(tmp_path):
    (tmp_path / "a").touch()
    for name in ("out.png", "out.gif"):
        with pytest.raises(DvtError, match=r"cannot be written: .* Give another place"):
            write(tmp_path / "a" / name, 0)


@pytest.mark.parametrize("name", ["a.png", "a.gif"])
def test_folder_of_that_name(tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(DvtError, match=rf"cannot write .*{name} \(Is a directory\)"):
        write(tmp_path / name, 0)
    assert [one.name for one in tmp_path.iterdir()] == [name]


def test_permissions_are_those_of_any_new_file(tmp_path):
    (tmp_path / "plain").touch()
    save_png(IMAGE, tmp_path / "out.png")
    assert (tmp_path / "plain").stat().st_mode == (tmp_path / "out.png").stat().st_mode


def greys(count, size=(33, 21)):
    """Plain images from black to white."""
    return [Image.new("RGB", size, (value,) * 3) for value in np.linspace(0, 255, count).astype(int).tolist()]


@pytest.mark.parametrize("name", ["a.mp4", "a.gif"])
def test_frames_are_read_in_their_order(tmp_path, name):
    assert write_video(tmp_path / "new" / name, iter(greys(5)), 10) == 5
    video = Video.open(tmp_path / "new" / name)
    means = torch.tensor([frame.mean() for frame in video])
    torch.testing.assert_close(means, torch.linspace(0, 1, 5), atol=0.03, rtol=0)
    assert video.fps == pytest.approx(10) and is_video(video.path)
    height, width = next(iter(video)).shape[1:]
    assert (height, width) == ((22, 34) if name == "a.mp4" else (21, 33)), "MP4 repeats the odd row and column"


def test_every_nth_frame_up_to_a_number(tmp_path):
    write_video(tmp_path / "a.gif", greys(9), 20)
    video = Video.open(tmp_path / "a.gif", every=3, max_frames=2)
    assert [round(frame.mean().item() * 8) for frame in video] == [0, 3]
    assert video.fps == pytest.approx(20 / 3)


@pytest.mark.parametrize(("name", "max_bytes"), [("a.mp4", 10**9), ("a.gif", 10**9), ("a.mp4", 6000), ("a.gif", 0)])
def test_a_buffered_video_is_decoded_once_up_to_a_size(tmp_path, monkeypatch, name, max_bytes):
    write_video(tmp_path / name, greys(5), 10)
    video = Video.open(tmp_path / name)
    plain, passes = list(video), []
    decode = Video.decode
    monkeypatch.setattr(Video, "decode", lambda self: passes.append(1) or decode(self))
    with BufferedVideo(video, max_bytes) as frames:
        next(iter(frames))  # an unfinished pass
        for _ in range(3):
            assert all(torch.equal(one, two) for one, two in zip(frames, plain, strict=True))
    assert len(passes) == (2 if max_bytes == 10**9 else 4)


def test_a_buffered_video_without_room_on_the_disk_is_decoded_again(tmp_path):
    write_video(tmp_path / "a.gif", greys(5), 10)
    with Video.open(tmp_path / "a.gif").buffered() as frames:
        frames._file.close()
        frames._file = Path("/dev/full").open("r+b", buffering=0)
        assert [len(list(frames)) for _ in range(2)] == [5, 5]


def test_a_gif_of_one_image_is_no_video(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.gif")
    assert not is_video(tmp_path / "a.gif") and not is_video(tmp_path / "a.png") and is_video("a.MP4")


def test_a_video_that_cannot_be_written_leaves_nothing(tmp_path):
    def frames():
        yield from greys(2)
        raise KeyboardInterrupt

    for name in ("a.mp4", "a.gif"):
        with pytest.raises(KeyboardInterrupt):
            write_video(tmp_path / name, frames(), 10)
    assert list(tmp_path.iterdir()) == []
    for path, fps, images in (
        (tmp_path / "a.avi", 1, greys(1)),
        (tmp_path / "a.gif", 0, greys(1)),
        (tmp_path / "a.gif", 1, []),
    ):
        with pytest.raises(DvtError, match=r"give|no images"):
            write_video(path, images, fps)


def test_an_error_names_a_truncated_video(tmp_path):
    write_video(tmp_path / "a.mp4", greys(5), 10)
    data = (tmp_path / "a.mp4").read_bytes()
    (tmp_path / "a.mp4").write_bytes(data[: len(data) // 2])
    with pytest.raises(ImageError, match=r"a\.mp4"):
        list(Video.open(tmp_path / "a.mp4"))


@pytest.mark.parametrize("name", ["a.mp4", "a.gif"])
def test_frames_of_several_sizes_are_refused(tmp_path, name):
    images = [*greys(2), *greys(1, size=(44, 30))]
    with pytest.raises(DvtError, match=r"image 3 of the video is 30 x 44 px, the first 21 x 33 px"):
        write_video(tmp_path / name, images, 10)
    assert list(tmp_path.iterdir()) == []


def raw_h264(path, sizes, fps=10, length=5):
    """Concatenated streams of several sizes, as some cameras write them."""
    av = pytest.importorskip("av")
    parts = []
    for number, size in enumerate(sizes):
        part = path.with_name(f"{number}.h264")
        with av.open(str(part), "w", format="h264") as container:
            stream = container.add_stream("libx264", rate=fps)
            stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
            for image in greys(length, size):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(np.asarray(image), format="rgb24")))
            container.mux(stream.encode())
        parts.append(part.read_bytes())
    path.write_bytes(b"".join(parts))
    return path


def test_a_video_that_changes_its_size_is_refused_with_the_time(tmp_path):
    path = raw_h264(tmp_path / "a.mkv", [(64, 48), (32, 32)])
    video = Video.open(path)
    start = f"{5 / video.fps:.2f}"
    with pytest.raises(
        ImageError, match=rf"a\.mkv: .* about {start} s on, it is 32 x 32 px, the first is 48 x 64 px .* max_frames=5\."
    ):
        list(video)
    assert len(list(Video.open(path, max_frames=5))) == 5
    with pytest.raises(ImageError, match=rf"about {6 / video.fps:.2f} s on.* max_frames=3\."):
        list(Video.open(path, every=2))
