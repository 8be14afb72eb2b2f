"""The whole demo with few views and steps: its page, images, video, scores, and resume."""

import json
import re
from html.parser import HTMLParser

import pytest
from PIL import Image

from dvt.cli.main import run
from dvt.demo.config import DemoConfig
from dvt.errors import ConfigError

TOY = ("num_views=4", "num_steps=3", "num_frames=2", "device=cpu")


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """Output folder of a demo."""
    out = tmp_path_factory.mktemp("demo") / "demo"
    assert run(["demo", f"out={out}", *TOY]) == 0
    return out


class Page(HTMLParser):
    """The sources and links of a page, and the cells of its table."""

    def __init__(self, text):
        super().__init__()
        self.asked, self.cells = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.asked += [given[name] for name in ("src", "href") if name in given]
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_data(self, data):
        if self.lasttag in ("td", "th") and self.cells:
            self.cells[-1] += data.strip()


@pytest.mark.slow  # the wheel's test runs a demo as well
def test_the_page_holds_everything_itself(demo):
    text = (demo / "index.html").read_text(encoding="utf-8")
    page = Page(text)
    assert [page.asked.pop(page.asked.index("explorer.html")) for _ in range(2)], "a link and a frame"
    assert len(page.asked) == 2 and all(re.match(r"data:image/(png|gif);base64,", each) for each in page.asked)
    explorer = (demo / "explorer.html").read_text(encoding="utf-8")
    assert explorer.count('"dvt explorer"') == 6 and "clean ViT" in explorer
    assert {"raw", "srt", "decomposed", "denoised", "clean ViT", "denoised here"} <= set(page.cells)
    assert "nan" not in " ".join(page.cells).lower()
    for said in ("dvt decompose images=photos/", "CC BY 2.0", "public domain"):
        assert said in text


@pytest.mark.slow  # the wheel's test runs a demo as well
def test_images_and_video(demo):
    with Image.open(demo / "terms.png") as image:
        assert image.width > 500
    with Image.open(demo / "walk.gif") as video:
        assert video.n_frames == 2


@pytest.mark.slow  # the wheel's test runs a demo as well
def test_raw_has_artifacts_and_its_denoised_features_have_fewer(demo):
    """The ViT that ships with dvt has artifacts; stage 1, even with few views, and its denoiser reduce them."""
    rows = json.loads((demo / "scores" / "artifact_scores.json").read_text())["rows"]
    share = {name: row["values"]["position share"][0] for name, row in rows.items()}
    assert share["raw"] > 0.03
    assert all(share[name] < 0.5 * share["raw"] for name in ("decomposed", "denoised", "clean ViT"))


@pytest.mark.slow  # the wheel's test runs a demo as well
def test_the_same_command_resumes(demo, capsys):
    def made():
        folders = demo / "store" / "shards", demo / "denoiser" / "checkpoints"
        return {path: path.stat().st_mtime_ns for folder in folders for path in folder.iterdir()}

    before, weights = made(), (demo / "denoiser" / "weights.safetensors").read_bytes()
    assert run(["demo", f"out={demo}", *TOY]) == 0
    assert capsys.readouterr().out.strip().endswith("index.html")
    assert before and before == made() and weights == (demo / "denoiser" / "weights.safetensors").read_bytes()


@pytest.mark.parametrize(("name", "value"), [("num_views", 1), ("num_steps", 0), ("num_frames", -1)])
def test_invalid_values(name, value):
    with pytest.raises(ConfigError, match=f"{name}={value}: give at least"):
        DemoConfig(**{name: value})
