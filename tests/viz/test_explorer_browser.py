"""The explorer in Chromium: the numbers of Python, pointer, keys, links, matching, clusters, phones, accessibility."""

import pytest
import torch
from browser import assert_accessible, chromium, open_page
from planted_image import cosines, planted_image

from dvt.grid import PatchGrid
from dvt.viz.explorer import explorer_page, image_data, write_explorer
from dvt.viz.explorer.notebook import decomposition_html

pytestmark = pytest.mark.browser
NAMES = ["cat.jpg", 'dog "</script>&é, 100 %.jpg']


@pytest.fixture(scope="module")
def images():
    return [planted_image(NAMES[0]), planted_image(NAMES[1], seed=1)]


@pytest.fixture(scope="module")
def address(images, tmp_path_factory):
    path = tmp_path_factory.mktemp("explorer") / "page.html"
    write_explorer(path, [image_data(image) for image in images], title=NAMES[1], about="a ViT, 6 x 8 patches")
    return path.as_uri()


@pytest.fixture(scope="module")
def browser():
    with chromium() as launched:
        yield launched


@pytest.fixture
def page(browser, address):
    """The page at 1280 px. Errors of the script and requests of the page fail the test."""
    with opened(browser, address) as shown:
        yield shown


def opened(browser, address, **options):
    """The page in a context of its own. It may ask for nothing but itself."""
    return open_page(browser, address, may_ask=lambda url: "page.html" in url or url.startswith("data:"), **options)


def state(page, name):
    return page.evaluate(f"dvtExplorer.state.{name}")


def until(page, condition):
    """Wait for an expression of JavaScript; the page's policy forbids the one of Playwright, which compiles a text."""
    page.evaluate(
        f"() => new Promise((done) => {{ const look = () => {condition} ? done() : setTimeout(look, 20); look(); }})"
    )


def drawn(page, selector="#stage canvas"):
    """The pixels of a canvas after the next frame."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return page.locator(selector).first.evaluate("(canvas) => canvas.toDataURL()")


def patch(page):
    return page.locator("#readout").inner_text()


def point(page, x, y, selector="#stage"):
    """Pixels of a place of an image, which is scrolled into view."""
    page.locator(selector).first.scroll_into_view_if_needed()
    box = page.locator(selector).first.bounding_box()
    return box["x"] + x * box["width"], box["y"] + y * box["height"]


@pytest.mark.parametrize("method", ["raw", "clean", "clean@fine"])
def test_similarity_is_that_of_the_features(page, images, method):
    exact = cosines(images[0].maps[method])
    for row, column in ((0, 0), (3, 5), (5, 7)):
        found = page.evaluate("(given) => dvtExplorer.similarity(...given)", [method, row, column])
        assert (torch.tensor(found) - exact[row, column]).abs().max() < 0.02


def test_similarity_to_another_image_is_that_of_the_features(page, images):
    exact = cosines(images[0].maps["raw"], images[1].maps["raw"])
    found = page.evaluate("dvtExplorer.similarity('raw', 2, 3, 1)")
    assert (torch.tensor(found) - exact[2, 3]).abs().max() < 0.02


def test_the_patch_follows_the_pointer_and_a_click_keeps_it(page):
    start, first = patch(page), drawn(page)
    page.mouse.move(*point(page, 0.01, 0.01))
    assert drawn(page) != first and patch(page) == "Patch: row 0, column 0 of 12 × 16"
    page.mouse.move(2, 2)
    assert drawn(page) == first and patch(page) == start
    page.mouse.click(*point(page, 0.99, 0.01, ".tile .surface"))
    page.mouse.move(2, 2)
    until(page, "location.hash.includes('patch=0,15')")
    assert drawn(page) != first and patch(page) == "Patch: row 0, column 15 of 12 × 16"


def test_keys_alone(page):
    page.keyboard.press("ArrowRight"), page.keyboard.press("ArrowUp"), page.keyboard.press("Shift+ArrowLeft")
    drawn(page)
    assert patch(page) == "Patch: row 5, column 4 of 12 × 16"
    for number, view in enumerate(("similarity", "colours", "norm", "clusters", "artifact", "residual"), 1):
        page.keyboard.press(str(number))
        drawn(page)
        assert state(page, "view") == view
        assert page.locator("#views input:checked").get_attribute("value") == view
        assert len(page.locator("#legend-text").inner_text()) > 20
    page.keyboard.press("+"), page.keyboard.press("+")
    assert page.locator("#zoom-factor").inner_text() == "156 %"
    page.keyboard.press("-"), page.keyboard.press("0")
    assert page.locator("#zoom-factor").inner_text() == "100 %"
    order = []
    page.locator("body").focus()
    for _ in range(14):
        page.keyboard.press("Tab")
        order.append(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
    expected = [
        "image",
        "other",
        "copy",
        "theme",
        "INPUT",
        "opacity",
        "smooth",
        "zoom-out",
        "zoom-in",
        "stage",
        "divider",
    ]
    assert [each for each in order if each in expected] == expected, order


def test_arrows_on_a_slider_move_the_slider(page):
    before = patch(page)
    page.locator("#divider").focus()
    page.keyboard.press("ArrowLeft")
    drawn(page)
    assert state(page, "split") == pytest.approx(0.495) and patch(page) == before


def test_the_divider_shows_one_method_or_the_other(page):
    page.locator("#opacity").fill("100")
    sides = []
    for share in ("0", "100"):
        page.locator("#divider").fill(share)
        sides.append(drawn(page))
    page.locator("#left").select_option("clean@fine")
    assert len({*sides, drawn(page)}) == 2 and drawn(page) == sides[0]


def test_wheel_and_drag(page):
    page.mouse.move(*point(page, 0.25, 0.25))
    page.mouse.wheel(0, -300)
    until(page, "dvtExplorer.state.zoom > 1.2")
    zoom, before = state(page, "zoom"), state(page, "centre")
    assert before[0] < 0.5 and before[1] < 0.5  # the place under the pointer stays
    page.mouse.down()
    page.mouse.move(*point(page, 0.05, 0.25), steps=4)
    page.mouse.up()
    assert state(page, "centre")[0] > before[0] and state(page, "zoom") == zoom
    assert state(page, "place") == [0.5, 0.5]  # a drag chooses no patch


def test_a_link_brings_the_state_back(page, address, browser):
    page.evaluate("dvtExplorer.change({image: 1, view: 'clusters', clusters: 3, left: 'clean', right: 'clean@fine'})")
    page.mouse.click(*point(page, 0.26, 0.26))
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.locator("#copy").click()
    page.locator("#notice", has_text="Link copied").wait_for()
    link = page.evaluate("navigator.clipboard.readText()")
    assert link.startswith(f"{address}#image=dog") and "&view=clusters&method=clean,clean@fine&clusters=3" in link
    shot = drawn(page)
    with opened(browser, link) as again:
        assert drawn(again) == shot and patch(again) == "Patch: row 3, column 4 of 12 × 16"


@pytest.mark.parametrize(
    "end", ["#patch=a,b&view=none&method=x,y&image=nothing", "#patch=999,-3", "#%", "#with=cat.jpg"]
)
def test_a_wrong_link_is_harmless(browser, address, end):
    with opened(browser, address + end) as page:
        assert drawn(page) and state(page, "view") == "similarity" and state(page, "other") is None
        assert all(0 < each < 1 for each in state(page, "place"))


def test_matching_draws_the_most_similar_patch_of_the_other_image(page, images):
    page.locator("#other").select_option("1")
    page.keyboard.press("Escape")
    page.evaluate("document.activeElement.blur()")
    page.mouse.click(*point(page, 0.02, 0.02, ".tile .surface"))
    drawn(page, ".tile canvas")
    exact = cosines(images[0].maps["clean"], images[1].maps["clean"])[0, 0]
    note = page.locator(".tile").nth(1).locator(".quiet").inner_text()
    assert float(note.removeprefix("cosine ").replace("−", "-")) == pytest.approx(exact.max().item(), abs=0.02)
    before = drawn(page, ".tile canvas")
    page.locator("#swap").click()
    assert drawn(page, ".tile canvas") != before and state(page, "image") == 1 and state(page, "other") == 0


def test_clusters_are_the_same_each_time(page, browser, address):
    found = page.evaluate("dvtExplorer.clusters(4)")
    assert [len(labels) for labels in found] == [48, 48, 192] and {n for labels in found for n in labels} == {
        0,
        1,
        2,
        3,
    }
    with opened(browser, address) as again:
        assert again.evaluate("dvtExplorer.clusters(4)") == found


def test_other_images_are_shown_in_place(page, images):
    raw = planted_image("raw.jpg", maps={"raw": images[0].maps["raw"]}, terms={})
    page.keyboard.press("ArrowUp"), page.keyboard.press("2")
    place = state(page, "place")
    page.evaluate("(data) => dvtExplorer.show([data])", image_data(raw))
    assert state(page, "view") == "colours" and state(page, "place") == place
    assert page.locator("#image").is_hidden() and state(page, "right") == "raw"
    page.evaluate("(data) => dvtExplorer.show(data, 1)", [image_data(each) for each in (raw, images[0])])
    assert state(page, "left") == "raw" and state(page, "right") == "clean@fine"  # the last method is followed
    assert page.locator("#image option:checked").inner_text() == NAMES[0]
    page.locator("#right").select_option("raw")
    page.evaluate("(data) => dvtExplorer.show([data], 0, '#view=norm')", image_data(images[1]))
    assert state(page, "right") == "raw" and state(page, "view") == "colours"  # a chosen method and view stay
    exact = cosines(images[1].maps["raw"])
    found = page.evaluate("dvtExplorer.similarity('raw', 2, 3)")
    assert (torch.tensor(found) - exact[2, 3]).abs().max() < 0.02


def test_one_method_without_a_photograph(browser, tmp_path):
    features = torch.rand(5, 7, 16)
    features[2, 3] = 0
    data = image_data(planted_image(maps={"features": features}, terms={}, photo=None))
    (tmp_path / "page.html").write_text(explorer_page([data], title="one", embedded=True), encoding="utf-8")
    with opened(browser, (tmp_path / "page.html").as_uri()) as page:
        for hidden in ("#divider", "#tiles", "#opacity", "#copy", "#image"):
            assert not page.locator(hidden).is_visible()
        assert torch.tensor(page.evaluate("dvtExplorer.similarity('features', 2, 3)")).eq(0).all()
        page.keyboard.press("5")  # there is no artifact
        assert state(page, "view") == "similarity" and page.locator("#views label:visible").count() == 4
        drawn(page)


def test_on_a_phone(browser, address):
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True, "device_scale_factor": 2}
    with opened(browser, address, **phone) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.touchscreen.tap(*point(page, 0.99, 0.99))
        drawn(page)
        assert patch(page) == "Patch: row 11, column 15 of 12 × 16"
        page.locator("#other").select_option("1")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_two_fingers_zoom(browser, address):
    with opened(browser, address, has_touch=True) as page:
        x, y = point(page, 0.5, 0.5)
        touch = page.context.new_cdp_session(page)
        for kind, apart in (("touchStart", 40), ("touchMove", 60), ("touchMove", 100), ("touchMove", 160)):
            fingers = [{"x": x - apart, "y": y, "id": 0}, {"x": x + apart, "y": y, "id": 1}]
            touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": fingers})
        touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        until(page, "dvtExplorer.state.zoom > 2")
        assert state(page, "place") == [0.5, 0.5]  # neither finger chooses a patch


def test_a_notebook_shows_it_in_a_frame(browser, tmp_path):
    image = planted_image()
    grid = PatchGrid.of((96, 128), patch=16)
    maps = (*list(image.maps.values())[:2], *image.terms.values(), image.maps["clean@fine"])
    (tmp_path / "page.html").write_text(decomposition_html(*maps, grid), encoding="utf-8")
    with opened(browser, (tmp_path / "page.html").as_uri()) as page:
        frame = page.frame_locator("iframe")
        assert frame.locator(".tile h2").all_inner_texts() == ["raw", "clean", "clean, 12 x 16"]
        frame.locator("#views label", has_text="Artifact").click()
        assert frame.locator(".tile h2").all_inner_texts() == ["norm", "direction"]


def test_dark_and_light(browser, address):
    def paper(page):
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    with opened(browser, address, color_scheme="dark") as page:
        dark = paper(page)
        page.locator("#theme", has_text="Light").click()
        light = paper(page)
        page.locator("#theme", has_text="Dark").click()
        assert paper(page) == dark != light


@pytest.mark.parametrize("width", [1280, pytest.param(390, marks=pytest.mark.slow)])
def test_axe_finds_nothing_serious(browser, address, width):
    with opened(browser, address, viewport={"width": width, "height": 900}) as page:
        page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
        for change in ("{}", "{view: 'clusters'}", "{view: 'norm', other: 1}"):
            page.evaluate(f"dvtExplorer.change({change})")
            drawn(page, "canvas")
            assert_accessible(page)
        page.emulate_media(color_scheme="dark")
        assert_accessible(page)
        page.evaluate("dvtExplorer.change({view: 'artifact', other: null})")
        drawn(page)
        assert_accessible(page)
