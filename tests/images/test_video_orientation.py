"""Videos whose file says how their frames are turned are read upright, as photographs are."""

import struct

import numpy as np
import pytest

from dvt.images.video import Video

av = pytest.importorskip("av", reason="PyAV is not installed")
ONE = 0x10000
TURNS = {  # (a, b, c, d) of the display matrix: what a viewer shows of an array of the stored rows
    "as it is": ((1, 0, 0, 1), lambda rows: rows),
    "a quarter clockwise": ((0, 1, -1, 0), lambda rows: np.rot90(rows, -1)),
    "a half": ((-1, 0, 0, -1), lambda rows: np.rot90(rows, 2)),
    "a quarter counterclockwise": ((0, -1, 1, 0), lambda rows: np.rot90(rows, 1)),
    "mirrored": ((-1, 0, 0, 1), lambda rows: rows[:, ::-1]),
    "mirrored up and down": ((1, 0, 0, -1), lambda rows: rows[::-1]),
    "rows and columns exchanged": ((0, 1, 1, 0), lambda rows: rows.swapaxes(0, 1)),
    "rows and columns exchanged, a half": ((0, -1, -1, 0), lambda rows: np.rot90(rows, 2).swapaxes(0, 1)),
}


def write_video(path, rows, matrix):
    """A video of one still image; the matrix in the header of its track is replaced (ISO 14496-12, tkhd)."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.height, stream.width, stream.pix_fmt, stream.bit_rate = *rows.shape[:2], "yuv420p", 10**7
        for _ in range(2):
            for packet in stream.encode(av.VideoFrame.from_ndarray(rows, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 4 + 40  # behind version, flags, times, number, length, layer and volume
    a, b, c, d = (sign * ONE for sign in matrix)
    identity = struct.pack(">9i", ONE, 0, 0, 0, ONE, 0, 0, 0, 0x40000000)
    assert data[start : start + 36] == identity
    data[start : start + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 0x40000000)
    path.write_bytes(data)


@pytest.mark.parametrize("turn", TURNS)
def test_frames_are_upright(turn, tmp_path):
    rows = np.zeros((32, 48, 3), dtype=np.uint8)
    rows[:16, :24], rows[:16, 24:], rows[16:, :24] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    matrix, shown = TURNS[turn]
    write_video(tmp_path / "a.mp4", rows, matrix)
    frames = list(Video.open(tmp_path / "a.mp4"))
    wanted = shown(rows).astype(float) / 255
    assert len(frames) == 2
    assert frames[0].shape == (3, *wanted.shape[:2])
    assert np.abs(frames[0].permute(1, 2, 0).numpy() - wanted).mean() < 0.08
