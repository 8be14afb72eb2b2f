"""`dvt view` in Chromium, against a real server: images from everywhere, bad ones, two tabs, reload, cancel, keys.

Stage 1 has two forms here: decomposed:tiny ends at once, decomposed has more steps than any test waits for.
"""

import base64
import os
import re
import subprocess
import sys
import time
from contextlib import contextmanager
from urllib.parse import parse_qs, urlsplit

import pytest
from browser import assert_accessible, chromium, open_page
from PIL import Image

pytestmark = [pytest.mark.browser, pytest.mark.network]

COMMAND = [
    sys.executable, "-c", "from dvt.cli.main import main; main()", "view", "backbone=vit_micro", "device=cpu", "port=0",
    "open=false", "backbone.image_size=64", "denoiser=vit_micro/denoiser", "method=[raw,decomposed:tiny,decomposed]",
    "solver=gradient", "gradient.num_steps=300000", "gradient.hash_grid.n_levels=2", "views.num_views=2",
    "gradient.hash_grid.log2_hashmap_size=10",
]  # fmt: skip
QUICK = ["raw", "denoised", "decomposed:tiny"]
DROP = """([name, kind, content]) => {
    const files = new DataTransfer(), bytes = Uint8Array.from(atob(content), (each) => each.charCodeAt(0));
    if (name) files.items.add(new File([bytes], name, { type: "image/png" }));
    const event = kind === "drop" ? new DragEvent("drop", { dataTransfer: files, bubbles: true, cancelable: true })
        : new ClipboardEvent("paste", { clipboardData: files, bubbles: true, cancelable: true });
    document.body.dispatchEvent(event);
}"""


@pytest.fixture(scope="module")
def address(folder):
    command = [*COMMAND, f"images={folder / 'photos'}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        yield re.search(r"http://\S+", process.stdout.readline())[0]
        process.terminate()
        assert process.wait(timeout=60) == 0


@pytest.fixture(scope="module")
def browser():
    with chromium("--use-fake-device-for-media-stream") as launched:
        yield launched


@contextmanager
def opened(browser, address, **options):
    """The app in a context of its own. Its job is cancelled at the end."""
    with open_page(browser, address, may_say=lambda text: "status of 4" in text, **options) as page:
        try:
            yield page
        finally:
            cancel = "async (id) => id && fetch(`/api/jobs/${id}`, { method: 'DELETE' })"
            page.evaluate(cancel, page.evaluate("dvtView.status()?.id"))


@pytest.fixture
def page(browser, address):
    with opened(browser, address) as shown:
        yield shown


def give(page, content, name="cat.png", kind="drop"):
    page.evaluate(DROP, [name, kind, base64.b64encode(content).decode()])


def untick(page, *names):
    for name in names:
        page.locator(f"#methods input[value='{name}']").uncheck()


def until(page, condition):
    """Wait for an expression of JavaScript; the page's policy forbids the one of Playwright, which compiles a text."""
    end_s = time.monotonic() + 60
    while not page.evaluate(condition):
        assert time.monotonic() < end_s, (condition, page.locator("#live").inner_text())
        time.sleep(0.02)


def until_shown(page, *names):
    wanted = ",".join(names)
    until(page, f"[...document.querySelectorAll('.tile h2')].map((each) => each.textContent).join() === '{wanted}'")


def until_said(page, text, place="#job-text"):
    page.locator(place, has_text=text).wait_for()


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_an_image_is_shown_and_stage_1_follows(page, encoded, kind):
    assert page.locator("main").is_hidden() and page.locator("#drop-text").is_visible()
    give(page, encoded(), kind=kind)
    until_shown(page, *QUICK)
    until_said(page, "stage 1, neural field")
    assert page.locator("#cancel").is_visible() and page.locator("#fault").is_hidden()
    assert page.locator("#about").inner_text() == "cat.png: vit_micro, layer 5, 4 × 4 patches"
    assert page.evaluate("dvtExplorer.state.right") == "decomposed:tiny"
    page.locator("#views label", has_text="Artifact").click()
    until_shown(page, "norm", "direction")


def test_a_chosen_file_is_shown_to_its_end(page, encoded):
    untick(page, "decomposed")
    page.locator("#file").set_input_files({"name": "dog.png", "mimeType": "image/png", "buffer": encoded()})
    until_said(page, "dog.png: done")
    until_shown(page, *QUICK)
    assert page.title() == "dog.png · dvt view" and page.locator("#cancel").is_hidden()


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("notes.png", b"not an image", "notes.png is not an image Pillow can read"),
        ("empty.png", b"", "empty.png is empty, or is a folder"),
        ("", b"", "That was a link or a text, not a file"),
        (
            "huge.png",
            Image.new("1", (20_000, 20_000)),
            "400000000 pixels, more than the 100000000 allowed",
        ),
    ],
)
def test_what_cannot_be_shown_is_said_and_the_app_goes_on(page, encoded, name, content, text):
    give(page, content if isinstance(content, bytes) else encoded(content), name)
    until_said(page, text, "#fault")
    assert page.locator("main").is_hidden()
    untick(page, "decomposed")
    give(page, encoded())
    until_said(page, "cat.png: done")
    assert page.locator("#fault").is_hidden()
    give(page, b"no image", "bad.png")
    until_said(page, "bad.png is not an image", "#fault")
    assert page.locator(".tile h2").all_inner_texts() == QUICK  # what was there stays


def test_one_pixel_shows_what_can_be_computed(page, encoded):
    give(page, encoded(Image.new("RGB", (1, 1))), "dot.png")
    until_said(page, "smaller than one patch", "#fault")
    until_shown(page, "raw", "denoised")


def test_a_file_that_is_too_large_is_not_sent(page):
    page.evaluate("dvtView.submitFile({ name: 'big.tif', size: 3e8 })")
    until_said(page, "big.tif has 300 MB; the page takes files of up to 100 MB", "#fault")


def test_two_tabs_wait_for_each_other_and_get_their_own(browser, address, encoded):
    with opened(browser, address) as first, opened(browser, address) as second:
        give(first, encoded(), "first.png")
        until_shown(first, *QUICK)
        untick(second, "decomposed")
        give(second, encoded(Image.new("RGB", (40, 80))), "second.png")
        until_said(second, "second.png waits: 1 image is before it")
        first.locator("#cancel").click()
        until_said(second, "second.png: done")
        assert second.locator("#about").inner_text().startswith("second.png:")
        assert first.locator("#about").inner_text().startswith("first.png:")
        assert first.evaluate("dvtView.status().id") != second.evaluate("dvtView.status().id")


def test_a_reload_in_the_middle_finds_the_job_and_the_state(page, encoded):
    page.locator("#layer").select_option("2")
    give(page, encoded())
    until_shown(page, "raw", "decomposed:tiny")
    page.keyboard.press("3")
    page.locator("#right").select_option("raw")
    until(page, "location.hash.includes('view=norm')")
    job = page.evaluate("dvtView.status().id")
    page.reload()
    until_shown(page, "raw", "decomposed:tiny")
    until_said(page, "stage 1, neural field")
    assert page.evaluate("dvtView.status().id") == job and page.url.partition("?job=")[2].startswith(job)
    assert page.evaluate("dvtExplorer.state.view") == "norm" and page.locator("#right").input_value() == "raw"
    assert page.locator("#layer").input_value() == "2"
    give(page, encoded(), "new.png")  # the link was that of the other image
    until(page, "document.title.startsWith('new.png')")
    assert page.evaluate("dvtView.status().name") == "new.png" and page.evaluate("dvtExplorer.state.view") == "norm"
    assert page.locator("#image option:checked").inner_text() == "new.png"


def test_a_cancelled_job_can_run_again(page, encoded):
    give(page, encoded())
    until_said(page, "stage 1, neural field")
    page.locator("#cancel").click()
    until_said(page, "cat.png: cancelled")
    assert page.locator("#cancel").is_hidden()
    first = page.evaluate("dvtView.status().id")
    page.locator("#again").click()
    until_said(page, "stage 1, neural field")
    assert page.evaluate("dvtView.status().id") != first


def test_a_new_image_ends_the_job_of_the_old_one(page, encoded):
    give(page, encoded(), "old.png")
    until_said(page, "stage 1, neural field")
    old = page.evaluate("dvtView.status().id")
    give(page, encoded(), "new.png")
    until(page, "document.title.startsWith('new.png')")
    assert page.evaluate("(id) => fetch(`/api/jobs/${id}`).then((each) => each.json())", old)["state"] == "cancelled"


def test_a_refused_image_leaves_the_job_running(page, encoded):
    give(page, encoded())
    until_said(page, "stage 1, neural field")
    job, completed = page.evaluate("[dvtView.status().id, dvtView.status().completed]")
    give(page, b"no image", "bad.png")
    until_said(page, "bad.png is not an image", "#fault")
    until(page, f"dvtView.status().completed > {completed}")
    assert page.evaluate("dvtView.status().id") == job and page.locator("#fault").is_visible()


def test_an_unknown_job_of_an_old_link(browser, address):
    with opened(browser, f"{address}?job=gone") as page:
        until_said(page, "no longer kept. Give the image again", "#fault")


def test_options_compute_again_and_what_a_layer_lacks_cannot_be_chosen(page, encoded):
    untick(page, "decomposed", "decomposed:tiny")
    give(page, encoded())
    until_said(page, "cat.png: done")
    page.locator("#layer").select_option("1")
    until(page, "document.querySelector('#about').textContent.includes('layer 1')")
    until_said(page, "cat.png: done")
    assert page.locator("#methods input[value=denoised]").is_disabled() and not page.locator("#tiles").is_visible()
    page.locator("#layer").select_option("5")
    until_shown(page, "raw", "denoised")
    page.locator("#size").select_option("224x224")
    until(page, "document.querySelector('#about').textContent.includes('14 × 14')")


def test_images_of_the_machine_by_keys_and_matching_between_them(page):
    untick(page, "decomposed")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("n")
    until_said(page, "b.png: done")
    page.keyboard.press("n")
    until_said(page, "deep/a.png: done")
    assert page.locator("#thumbnails [aria-pressed=true]").get_attribute("title") == "deep/a.png"
    assert page.evaluate("[...document.querySelectorAll('#thumbnails img')].every((each) => each.naturalWidth > 0)")
    page.locator("#other").select_option(label="b.png")
    until(page, "[...document.querySelectorAll('.tile .quiet')].every((each) => each.textContent.startsWith('cosine'))")
    page.keyboard.press("Escape"), page.evaluate("document.activeElement.blur()")
    page.keyboard.press("p")
    until(page, "document.title.startsWith('b.png')")


def test_without_a_mouse(page, encoded):
    order = []
    for _ in range(12):
        page.keyboard.press("Tab")
        order.append(page.evaluate("(({ id, value, title }) => id || value || title)(document.activeElement)"))
    wanted = ["theme", "choose", "camera", "b.png", "deep/a.png", "backbone", "layer", "size", "denoised"]
    assert [each for each in order if each in wanted] == wanted, order
    page.locator("#choose").focus()
    # Asked in the page: on a busy machine the event of the browser's own dialog is lost at times.
    watch = "(input) => input.addEventListener('click', (event) => { event.preventDefault(); window.asked = true; })"
    page.locator("#file").evaluate(watch)
    page.keyboard.press("Enter")
    until(page, "window.asked")
    page.locator("#file").set_input_files({"name": "keys.png", "mimeType": "image/png", "buffer": encoded()})
    until_said(page, "stage 1, neural field")
    page.locator("#cancel").focus()
    page.keyboard.press("Enter")
    until_said(page, "keys.png: cancelled")
    assert page.evaluate("document.activeElement.id") == "again"


def test_the_camera(browser, address):
    with opened(browser, address, permissions=["camera"]) as page:
        untick(page, "decomposed")
        page.locator("#camera").click()
        until(page, "document.querySelector('#camera-picture').videoWidth > 0")
        page.locator("#camera-take").click()
        until_said(page, "camera.jpg: done")
        assert page.locator("#camera-dialog").is_hidden()
        assert page.evaluate("document.querySelector('#camera-picture').srcObject === null")


def test_a_camera_that_is_not_allowed(page):
    page.locator("#camera").click()
    until_said(page, "The browser was not allowed to use the camera", "#fault")


def test_axe_finds_nothing_serious_and_nothing_is_wider_than_the_screen(page, encoded):
    def check():
        for width, scheme in ((1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")):
            page.set_viewport_size({"width": width, "height": 844})
            page.emulate_media(color_scheme=scheme)
            assert_accessible(page)
            assert page.evaluate("document.documentElement.scrollWidth") <= width

    check()
    give(page, encoded())
    until_said(page, "stage 1, neural field")
    give(page, b"no image", "bad.png")
    until_said(page, "bad.png is not an image", "#fault")
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    check()


def test_on_a_phone_a_new_image_is_scrolled_to(browser, address, encoded):
    with opened(browser, address, viewport={"width": 390, "height": 700}) as page:
        give(page, encoded())
        until_shown(page, *QUICK)
        assert 0 < page.locator("#stage").bounding_box()["y"] < 600
        page.evaluate("scrollTo(0, 0)")
        page.locator("#cancel").click()
        until_said(page, "cat.png: cancelled")
        assert page.evaluate("scrollY") == 0  # by nothing else


def test_images_that_follow_each_other_quickly_end_those_before_them(page):
    page.locator("#thumbnails button").first.click()
    page.evaluate("document.activeElement.blur()")
    for key in "npn":
        page.keyboard.press(key)
    asked = "performance.getEntriesByType('resource').map(({ name }) => name).filter((url) => url.includes('instead='))"
    until(page, f"{asked}.length === 4")
    asked = page.evaluate(asked)
    assert [urlsplit(url).path[-1] for url in asked] == ["0", "1", "0", "1"]
    instead = [parse_qs(urlsplit(url).query, keep_blank_values=True)["instead"][0] for url in asked]
    assert instead[0] == "" and len(set(instead)) == 4  # each takes the place of the one before it
