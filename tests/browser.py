"""Chromium for tests that open pages: Debian's or another one of the machine, driven by Playwright; packages of npm."""

import json
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

NAMES = ("chromium", "chromium-browser", "google-chrome")


@contextmanager
def chromium(*flags):
    """A headless Chromium; skips the test where there is none, or no Playwright."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install playwright")
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(f"needs one of {', '.join(NAMES)}: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", *flags])
        yield browser
        browser.close()


@contextmanager
def open_page(browser, address, *, may_ask=lambda url: True, may_say=lambda text: False, **options):
    """A page in a context of its own, closed at the end. Nothing may go wrong in it.

    Its scripts may not fail, say nothing in the console except what `may_say`, and ask for no address except what
    `may_ask`. `options` are those of a context of Playwright.
    """
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
    context.set_default_timeout(60_000)
    wrong = []
    context.on("request", lambda request: None if may_ask(request.url) else wrong.append(request.url))
    page = context.new_page()
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: None if may_say(message.text) else wrong.append(message.text))
    try:
        page.goto(address)
        yield page
    finally:
        context.close()
    assert wrong == []


def npm_packages():
    """The folder of the packages of web/package.json; skips the test where they cannot be installed."""
    command = [ROOT / "scripts" / "npm_packages.sh"]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    except subprocess.SubprocessError as error:
        pytest.skip(f"npm cannot install web/package.json: {error} {getattr(error, 'stderr', '')}")
    return ROOT / "web" / "node_modules"


def assert_accessible(page):
    """axe-core finds no serious fault in a page."""
    page.evaluate((npm_packages() / "axe-core" / "axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate("axe.run().then((result) => result.violations)")
    serious = [each for each in found if each["impact"] in ("serious", "critical")]
    assert serious == [], json.dumps(serious, indent=1)
