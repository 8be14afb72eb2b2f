"""The page of a leaderboard in Chromium: keys alone, sort, filter, links, phones, dark, accessibility."""

from urllib.parse import unquote

import pytest
from browser import assert_accessible, chromium

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser():
    with chromium() as launched:
        yield launched


@pytest.fixture
def page(browser, whole):
    """The page; errors of its script and requests fail the test."""
    context, wrong = browser.new_context(viewport={"width": 1280, "height": 900}), []
    context.set_default_timeout(20_000)
    shown = context.new_page()
    shown.on("pageerror", lambda error: wrong.append(str(error)))
    shown.on("request", lambda request: wrong.append(request.url) if "index.html" not in request.url else None)
    shown.goto((whole.out / "index.html").as_uri())
    yield shown
    context.close()
    assert [each for each in wrong if not each.startswith("data:")] == []


def column(page, number):
    """The shown texts of a column, without differences from raw."""
    cells = page.locator(f"tbody tr:not([hidden]) > :nth-child({number})").all_inner_texts()
    return [cell.split("\n")[0] for cell in cells]


def count(page):
    return page.locator("#count").inner_text()


def focus(page, name):
    page.get_by_role("button", name=name).first.focus()


def test_sort_and_filter_by_keys(page):
    assert page.title() == "Tiny <board>" and count(page) == "7 of 7 rows"
    assert column(page, 1) == ["vit_micro"] * 4 + ["early"] * 3
    for _ in range(40):  # from the top of the page to the first heading
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.innerText") == "ViT":
            break
    page.keyboard.press("Enter")
    assert column(page, 1) == ["early"] * 3 + ["vit_micro"] * 4
    page.keyboard.press("Tab"), page.keyboard.press("Tab"), page.keyboard.press("Tab"), page.keyboard.press("Space")
    scores = [float(each) for each in column(page, 4)]
    assert scores == sorted(scores, reverse=True)  # higher is better: the best on top at once
    page.keyboard.press("Space")
    assert [float(each) for each in column(page, 4)] == sorted(scores)
    assert page.locator("thead th").nth(3).get_attribute("aria-sort") == "ascending"
    assert page.locator("thead [aria-sort]").count() == 1
    page.locator("#vit").focus()
    page.keyboard.type("early")
    assert count(page) == "3 of 7 rows" and set(column(page, 1)) == {"early"}
    assert page.locator("section[data-vit='vit_micro']").is_hidden()
    assert page.locator("section[data-vit='early'] svg").is_visible()
    page.locator("#passes").focus()
    page.keyboard.type("2")
    assert sorted(column(page, 2)) == ["flip", "raw"]
    page.locator("#text").focus()
    page.keyboard.type("FLIP")
    assert column(page, 2) == ["flip"]
    page.keyboard.type("x")
    assert count(page) == "0 of 7 rows" and page.locator("#nothing").is_visible()
    focus(page, "Reset")
    page.keyboard.press("Enter")
    page.locator("#count", has_text="7 of 7 rows").wait_for()
    assert column(page, 1) == ["vit_micro"] * 4 + ["early"] * 3 and page.locator("thead [aria-sort]").count() == 0


def test_numbers_link_to_receipts_that_are_there(page, whole):
    links = page.locator("td a").evaluate_all("(all) => all.map((each) => each.getAttribute('href'))")
    assert len(set(links)) == 14 and all((whole.out / unquote(link)).is_file() for link in links)
    bold = page.locator("td.best a").all_inner_texts()
    assert bold and page.locator(".gain").count() > 5
    assert page.locator("section[data-vit] img").count() == 2  # the doctor's maps
    assert page.locator("section[data-vit] svg.dvt").count() == 2


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_accessible_and_no_wider_than_the_window(page, width, scheme):
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 800})
    focus(page, "Passes")
    page.keyboard.press("Enter")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert_accessible(page)


def test_without_scripts_everything_is_there(browser, whole):
    context = browser.new_context(java_script_enabled=False)
    shown = context.new_page()
    shown.goto((whole.out / "index.html").as_uri())
    assert len(column(shown, 1)) == 7 and shown.locator("svg.dvt").first.is_visible()
    context.close()
