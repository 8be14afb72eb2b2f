"""Time in an explorer page, in Chromium: the first paint of a page, and the similarity of all methods after a move.

    python benchmarks/explorer.py
    python benchmarks/explorer.py --side 37 --methods 2

The features are random in 48 directions, so that 64 dimensions keep their cosines. Each load has a browser context of
its own; in the last one the pointer moves over the large image.
"""

import argparse
import json
import os
import shutil
import statistics
import tempfile
from pathlib import Path

import torch
from playwright.sync_api import Browser, Page, sync_playwright

from dvt.runtime import environment
from dvt.viz.explorer import ExplorerImage, image_data, write_explorer

CHANNELS, DIRECTIONS = 384, 48
PAINT = "performance.getEntriesByType('paint').find((each) => each.name === 'first-contentful-paint')?.startTime"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=74)
    parser.add_argument("--methods", type=int, default=4)
    parser.add_argument("--loads", type=int, default=7)
    parser.add_argument("--moves", type=int, default=60)
    given = parser.parse_args()
    data = image_data(features(given.side, given.methods))
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        path = Path(folder) / "page.html"
        write_explorer(path, [data], title="random")
        size_mb = path.stat().st_size / 1e6
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        paints = [first_paint(browser, path) for _ in range(given.loads)]
        moves = similarity(opened(browser, path), given.moves)
        browser.close()
    results = {"paint": spread(paints), "similarity": spread(moves)}
    about = f"{given.methods} methods, {given.side} x {given.side} patches, page of {size_mb:.2f} MB"
    print(f"{about}, cosines within {data['cosine_error']['max']:.4f}")
    print(f"{'milliseconds':32}{'median':>10}{'min':>8}{'max':>8}{'number':>8}")
    for name, text in (("paint", "first paint"), ("similarity", "similarity after a move")):
        values = results[name]
        print(f"{text:32}{values['median']:>10.1f}{values['min']:>8.1f}{values['max']:>8.1f}{values['number']:>8}")
    print(
        json.dumps(
            {
                "benchmark": "explorer",
                **vars(given),
                "page_mb": size_mb,
                "results": results,
                "machine": {"cores": os.cpu_count(), "load": os.getloadavg(), **environment()},
            }
        )
    )


def features(side: int, methods: int) -> ExplorerImage:
    """An image with random features."""
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(DIRECTIONS, CHANNELS, generator=generator)
    maps = {
        f"method {number}": torch.randn(side, side, DIRECTIONS, generator=generator) @ directions
        for number in range(methods)
    }
    return ExplorerImage(name="random", maps=maps, photo=torch.rand(3, 518, 518, generator=generator))


def opened(browser: Browser, path: Path) -> Page:
    """The page, drawn."""
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.goto(path.as_uri())
    page.locator("#readout", has_text="row").wait_for()
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return page


def first_paint(browser: Browser, path: Path) -> float:
    """Milliseconds from the start of loading to the first text or image on the screen."""
    page = opened(browser, path)
    while (found := page.evaluate(PAINT)) is None:
        page.wait_for_timeout(50)
    page.context.close()
    return float(found)


def similarity(page: Page, moves: int) -> list[float]:
    """Milliseconds in which the maps of all methods are computed and coloured, for each move of the pointer."""
    box = page.locator("#stage").bounding_box()
    assert box is not None
    page.evaluate("dvtExplorer.timing.similarity_ms.length = 0")
    for number in range(moves):
        share = (number + 0.5) / moves
        page.mouse.move(box["x"] + share * box["width"], box["y"] + share * box["height"])
        page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return [float(each) for each in page.evaluate("dvtExplorer.timing.similarity_ms")]


def spread(values: list[float]) -> dict[str, float]:
    """Median, smallest and largest of numbers, and how many."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "number": len(values)}


if __name__ == "__main__":
    main()
