"""`dvt show` writes the image that was asked for, and refuses at once what it could not write."""

import numpy as np
import pytest
from PIL import Image

from dvt.images.video import Video


def test_an_image_is_written_larger_for_more_methods(tiny, photo, tmp_path):
    photo("cat.jpg")
    sizes = []
    for methods in ("raw", "decomposed"):
        result = tiny("show", "image=cat.jpg", f"method=[{methods}]", "patch=[0,3]")
        assert result.code == 0 and result.out == "cat.dvt.png\n"
        with Image.open(tmp_path / "cat.dvt.png") as panel:
            assert panel.mode == "RGB" and min(panel.size) > 200
            sizes.append(panel.size)
    assert tiny("show", "image=cat.jpg", "out=new folder/all.jpg").code == 0
    with Image.open(tmp_path / "new folder/all.jpg") as both:
        assert all(width < both.width or height < both.height for width, height in sizes)


def test_position_is_put_back_into_what_is_shown(tiny, photo, tmp_path):
    photo("cat.jpg")
    panels = []
    for share in (0, 0.5, 1):
        assert tiny("show", "image=cat.jpg", "method=[decomposed]", f"position={share}").code == 0
        panels.append((tmp_path / "cat.dvt.png").read_bytes())
    assert len({*panels}) == 3


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["patch=[4,0]"], "patch=[0,0] to patch=[3,3]"),
        (["patch=[0,-1]"], "patch=[0,0] to patch=[3,3]"),
        (["patch=[1]"], "a row and a column"),
        (["patch=[1,2,3]"], "a row and a column"),
        (["patch=3"], "patch=3: give a list"),
        (["patch=[a,b]"], "patch=[a,b]"),
        (["out=cat.webp"], "ends in .webp"),
        (["out=cat"], "no suffix"),
        (["out=folder.png"], "is a folder"),
        (["out=cat.jpg"], "is the image itself"),
        (["out=cat.jpg/x.png"], "cannot be written"),
        (["image=folder.png"], "is empty"),
        (["image=nothing.png"], "nothing.png does not exist"),
        (["image=nothing.mp4"], "nothing.mp4 does not exist"),
        (["method=[raw,row]"], "there is no method 'row'"),
        (["method=[raw,distilled]"], "distilled features need both"),
        (["method=[raw,decomposed@fine2]", "fine=4"], "decomposed@fine2 says another number of cells"),
        (["method=[raw]", "fine=2"], "none of these has features finer than a patch"),
        (["method=[raw,srt]", "srt.fine=2", "fine=4"], "srt.fine=2, method=srt@fine4: two numbers of cells"),
        (["fine=0"], "fine=0: give at least 1"),
        (["position=2"], "position=2.0: give a number from 0 to 1"),
        (["method=[raw]", "position=1"], "none of these has features that position was removed from"),
        (["method=[raw,srt+position1]", "position=0.5"], "srt+position1 says another position"),
        (["method=[raw+position1]"], "raw features have nothing removed"),
        (["position_kind=sincos"], "position_kind=sincos has no effect without position="),
        (["position=0.5", "position_kind=cosine"], "position_kind=cosine"),
        (["fine=1.5"], "fine=1.5"),
        (["fine=many"], "fine=many"),
    ],
)
def test_what_cannot_be_shown_is_refused_before_the_work(tiny, photo, tmp_path, monkeypatch, options, part):
    photo("cat.jpg"), (tmp_path / "folder.png").mkdir()
    monkeypatch.setattr("dvt.decomposition.run.decompose_image", None)  # the work is not begun
    result = tiny("show", "image=cat.jpg", *options)
    assert result.code == 2 and part in result.err, result.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cat.jpg", "folder.png"]


def test_fine_is_a_column_beside_the_terms_under_either_name(tiny, photo, tmp_path):
    photo("cat.jpg")
    widths = []
    for options in (["fine=1"], ["fine=2"], ["method=[raw,decomposed@fine2]"]):
        assert tiny("show", "image=cat.jpg", *options, "closed_form.nodes_per_patch=2").code == 0
        with Image.open(tmp_path / "cat.dvt.png") as panel:
            widths.append((panel.width, np.asarray(panel).tobytes()))
    assert widths[0][0] < widths[1][0] and widths[1] == widths[2]


def test_denoised_features_beside_the_others(tiny, made, tmp_path):
    made("photos", "denoiser")
    shown = tiny("show", "image=photos/0.png", "method=[raw,decomposed,denoised]", "denoiser=denoiser")
    assert shown.code == 0, shown.err
    with Image.open(tmp_path / "0.dvt.png") as panel:
        assert panel.width > 3 * 224


@pytest.fixture
def clip(tmp_path):
    """An animated GIF of 6 frames, 40 x 30 px, at 20 frames a second."""
    rng = np.random.default_rng(0)
    frames = [Image.fromarray(rng.integers(0, 255, (30, 40, 3), dtype=np.uint8)) for _ in range(6)]
    frames[0].save(tmp_path / "clip.gif", save_all=True, append_images=frames[1:], duration=50, loop=0)


def test_an_image_for_every_image_of_a_folder(tiny, photo, tmp_path):
    photo("photos/a.jpg"), photo("photos/deep/b.jpg", seed=1)
    shown = tiny("show", "image=photos", "method=[raw]", "out=pictures")
    assert shown.code == 0 and shown.out == "pictures\n", shown.err
    made = sorted(str(path.relative_to(tmp_path / "pictures")) for path in (tmp_path / "pictures").rglob("*.png"))
    assert made == ["a.jpg.dvt.png", "deep/b.jpg.dvt.png"]


def test_a_broken_image_does_not_stop_the_others(tiny, photo, tmp_path):
    photo("photos/0.png"), photo("photos/2.png")
    (tmp_path / "photos" / "1.png").write_text("no image")
    result = tiny("show", "image=photos", "method=[raw]", "out=shown.v1/")
    assert result.code == 3 and "failed: 1.png: " in result.err
    assert sorted(path.name for path in (tmp_path / "shown.v1").iterdir()) == ["0.png.dvt.png", "2.png.dvt.png"]
    for name in ("0", "2"):
        (tmp_path / "photos" / f"{name}.png").write_text("no image")
    result = tiny("show", "image=photos", "method=[raw]", "out=shown.v1")
    assert result.code == 2 and "none of the 3 images of photos could be shown" in result.err


@pytest.mark.parametrize("out", ["clip.mp4", "shown.gif"])
def test_a_video_of_a_video(tiny, clip, tmp_path, out):
    shown = tiny("show", "image=clip.gif", "method=[raw,tiles]", f"out={out}", "every=2", "max_frames=2")
    assert shown.code == 0, shown.err
    video = Video.open(tmp_path / out)
    assert len(list(video)) == 2 and video.fps == pytest.approx(10)


def test_a_video_of_a_folder(tiny, photo, tmp_path):
    photo("photos/a.jpg"), photo("photos/b.jpg", seed=1, size=(30, 50))
    assert tiny("show", "image=photos", "method=[raw]", "out=both.gif", "fps=5").code == 0
    video = Video.open(tmp_path / "both.gif")
    assert len(list(video)) == 2 and video.fps == pytest.approx(5)


def test_a_video_has_one_basis_of_colours(tiny, clip, tmp_path):
    """The same image has the same colours in every frame, whatever the others show."""
    frames = list(Video.open(tmp_path / "clip.gif"))
    again = [frames[0], frames[1], frames[0]]
    pictures = [Image.fromarray((each.permute(1, 2, 0) * 255).byte().numpy()) for each in again]
    pictures[0].save(tmp_path / "again.gif", save_all=True, append_images=pictures[1:], duration=50)
    assert tiny("show", "image=again.gif", "method=[raw]", "out=shown.gif").code == 0
    first, second, third = Video.open(tmp_path / "shown.gif")
    assert (first - third).abs().mean() < 0.02 < (first - second).abs().mean()


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["image=clip.gif", "out=x.png"], "ends in .mp4 or .gif"),
        (["image=clip.gif", "out=clip.gif"], "is the image itself"),
        (["image=clip.gif", "every=0"], "give 1 or more"),
        (["image=broken.mp4", "out=x.gif"], "not a video, or damaged"),
        (["image=photos", "out=x.png"], "give a folder"),
    ],
)
def test_videos_that_cannot_be_shown_are_refused(tiny, clip, photo, tmp_path, options, part):
    (tmp_path / "broken.mp4").write_bytes(b"no video at all" * 100)
    photo("photos/a.jpg"), photo("photos/b.jpg", seed=1)
    result = tiny("show", "method=[raw]", *options)
    assert result.code == 2 and part in result.err, result.err
