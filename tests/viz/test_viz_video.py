"""Videos: what is written is read again, picture by picture."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dvt.errors import DvtError, ImageError
from dvt.images.video import BufferedVideo, Video, is_video
from dvt.viz import write_video


def greys(count, size=(33, 21)):
    """Plain pictures from black to white."""
    return [Image.new("RGB", size, (value,) * 3) for value in np.linspace(0, 255, count).astype(int).tolist()]


@pytest.mark.parametrize("name", ["a.mp4", "a.gif"])
def test_pictures_come_back_in_their_order(tmp_path, name):
    assert write_video(tmp_path / "new" / name, iter(greys(5)), 10) == 5
    video = Video.open(tmp_path / "new" / name)
    means = torch.tensor([frame.mean() for frame in video])
    torch.testing.assert_close(means, torch.linspace(0, 1, 5), atol=0.03, rtol=0)
    assert video.fps == pytest.approx(10) and is_video(video.path)
    height, width = next(iter(video)).shape[1:]
    assert (height, width) == ((22, 34) if name == "a.mp4" else (21, 33)), "the mp4 doubles the odd row and column"


def test_every_nth_picture_up_to_a_number(tmp_path):
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
        next(iter(frames))  # a pass that is not finished
        for _ in range(3):
            assert all(torch.equal(one, two) for one, two in zip(frames, plain, strict=True))
    assert len(passes) == (2 if max_bytes == 10**9 else 4)


def test_a_buffered_video_without_room_on_the_disk_is_decoded_again(tmp_path):
    write_video(tmp_path / "a.gif", greys(5), 10)
    with Video.open(tmp_path / "a.gif").buffered() as frames:
        frames._file.close()
        frames._file = Path("/dev/full").open("r+b", buffering=0)
        assert [len(list(frames)) for _ in range(2)] == [5, 5]


def test_a_gif_of_one_picture_is_none(tmp_path):
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
    for path, fps, pictures in (
        (tmp_path / "a.avi", 1, greys(1)),
        (tmp_path / "a.gif", 0, greys(1)),
        (tmp_path / "a.gif", 1, []),
    ):
        with pytest.raises(DvtError, match=r"give|no pictures"):
            write_video(path, pictures, fps)


def test_a_truncated_video_is_named(tmp_path):
    write_video(tmp_path / "a.mp4", greys(5), 10)
    data = (tmp_path / "a.mp4").read_bytes()
    (tmp_path / "a.mp4").write_bytes(data[: len(data) // 2])
    with pytest.raises(ImageError, match=r"a\.mp4"):
        list(Video.open(tmp_path / "a.mp4"))


@pytest.mark.parametrize("name", ["a.mp4", "a.gif"])
def test_pictures_of_several_sizes_are_refused(tmp_path, name):
    pictures = [*greys(2), *greys(1, size=(44, 30))]
    with pytest.raises(DvtError, match=r"picture 3 of the video is 30 x 44 px, the first 21 x 33 px"):
        write_video(tmp_path / name, pictures, 10)
    assert list(tmp_path.iterdir()) == []


def raw_h264(path, sizes, fps=10, length=5):
    """Streams of several sizes one after the other, as some cameras and players leave them."""
    av = pytest.importorskip("av")
    parts = []
    for number, size in enumerate(sizes):
        part = path.with_name(f"{number}.h264")
        with av.open(str(part), "w", format="h264") as container:
            stream = container.add_stream("libx264", rate=fps)
            stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
            for picture in greys(length, size):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(np.asarray(picture), format="rgb24")))
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
