"""Six seconds of an explorer page as a GIF: similarity under the pointer, the line between two methods, other views.

    .venv/bin/dvt show image=cat.jpg out=cat.html 'method=[raw,decomposed@fine4]' ...
    .venv/bin/python scripts/explorer_gif.py cat.html docs/images/explorer.gif

Needs Playwright and Chromium.
"""

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

SIZE = {"width": 1000, "height": 660}
FRAMES_PER_S = 10
COLOURS = 256
POINTER = """() => {
  const dot = document.createElement("div");
  dot.style = "position:fixed; width:16px; height:16px; margin:-8px; border-radius:50%; z-index:9;"
    + "background:rgba(220,20,20,.9); border:2px solid white; pointer-events:none";
  document.body.append(dot);
  document.addEventListener("pointermove", (event) => {
    dot.style.left = `${event.clientX}px`;
    dot.style.top = `${event.clientY}px`;
  }, true);
}"""
"""Draws the pointer, which screenshots lack."""


class Film:
    """The frames, and a pointer that moves between them."""

    def __init__(self, page: Page, xy: tuple[float, float]) -> None:
        self._page, self._xy = page, xy
        self.frames: list[Image.Image] = []
        page.mouse.move(*xy)

    def rest(self, seconds: float) -> None:
        """Let time pass."""
        self.go(*self._xy, seconds)

    def go(self, x: float, y: float, seconds: float) -> None:
        """Move the pointer in a straight line, a frame per step."""
        steps = round(seconds * FRAMES_PER_S)
        start = self._xy
        for step in range(1, steps + 1):
            share = step / steps
            self._xy = start[0] + share * (x - start[0]), start[1] + share * (y - start[1])
            self._page.mouse.move(*self._xy)
            self._page.wait_for_timeout(30)
            self.frames.append(Image.open(io.BytesIO(self._page.screenshot())).convert("RGB"))


def record(page: Page) -> list[Image.Image]:
    """Play the scene."""
    page.evaluate(POINTER)
    canvas = page.locator("#stage").bounding_box()
    handle = page.locator("#divider").bounding_box()
    left, top, width, height = (canvas[side] for side in ("x", "y", "width", "height"))
    handle_xy = handle["x"] + handle["width"] / 2, handle["y"] + handle["height"] * 0.9

    def spot(x: float, y: float) -> tuple[float, float]:
        return left + x * width, top + y * height

    film = Film(page, spot(0.15, 0.2))
    film.go(*spot(0.4, 0.44), 0.8)
    film.rest(0.5)
    film.go(*spot(0.57, 0.78), 0.6)
    film.rest(0.3)
    page.mouse.click(*spot(0.57, 0.78))
    film.go(*handle_xy, 0.3)
    page.mouse.down()
    film.go(left + 0.08 * width, handle_xy[1], 0.6)
    film.go(left + 0.92 * width, handle_xy[1], 0.8)
    film.go(left + 0.5 * width, handle_xy[1], 0.4)
    page.mouse.up()
    for key in ("2", "4"):
        page.keyboard.press(key)
        film.rest(0.85)
    return film.frames


def main(source: Path, out: Path) -> None:
    """Record a page."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-background-networking"]
        )
        page = browser.new_page(viewport=SIZE)
        page.goto(source.absolute().as_uri())
        page.wait_for_timeout(1000)
        frames = record(page)
        browser.close()
    chosen = frames[::6]
    together = Image.new("RGB", (frames[0].width, len(chosen) * frames[0].height))
    for row, frame in enumerate(chosen):
        together.paste(frame, (0, row * frame.height))
    palette = together.quantize(COLOURS)  # one for all frames: equal pixels stay equal, and are stored once
    drawn = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    drawn[0].save(out, save_all=True, append_images=drawn[1:], duration=1000 // FRAMES_PER_S, loop=0, optimize=True)
    print(f"{out}: {len(frames) / FRAMES_PER_S:.1f} s, {out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
