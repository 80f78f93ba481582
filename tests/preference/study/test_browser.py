"""The whole road of participants and owner in a real browser, by mouse, by keys, and by touch."""

import io
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffusion4k.preference.answers import Answer, read_answers
from tests.preference.study.browser import Browser, agree, is_accessible, playwright
from tests.preference.study.fake import make_study
from tests.preference.study.server import Server, command, serving

pytestmark = pytest.mark.e2e

SIZE = (1200, 900)
SIZES = [(1440, 900), (1024, 768), (768, 1024)]


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Three pairs and three checks; ties are allowed."""
    return make_study(tmp_path, size=SIZE, participants={"open": True}, views=5, task={"tie": True})


@pytest.fixture
def server(study: Path) -> Iterator[Server]:
    with serving(study) as server:
        yield server


@pytest.fixture
def browser(chromium: playwright.Browser, server: Server) -> Iterator[Browser]:
    browser = Browser(chromium, server)
    yield browser
    browser.context.close()
    assert browser.troubles == []


def begin(page: playwright.Page, server: Server) -> str:
    """The same, and the first pair is seen."""
    link = agree(page, server)
    is_seen(page, 0)
    return link


def is_seen(page: playwright.Page, done: int, total: int = 6) -> None:
    playwright.expect(page.locator("#count")).to_have_text(f"{done} of {total}")
    # All pixels of the view are there: before, nothing is taken as an answer.
    playwright.expect(page.locator("html")).to_have_attribute("data-seen", "true")
    playwright.expect(page.locator("#questions .now h2")).to_contain_text("1 of 3")


def answer(page: playwright.Page, *keys: str) -> None:
    for number, key in enumerate(keys, start=1):
        playwright.expect(page.locator("#questions .now h2")).to_contain_text(f"{number} of 3")
        page.keyboard.press(key)


def exported(study: Path) -> list[Answer]:
    path = study.with_name("answers.csv")
    out, err = command("export", study, str(path)).communicate(timeout=120)
    assert "answers in" in out, err
    return read_answers(path)


def test_the_whole_road(browser: Browser, server: Server, study: Path) -> None:
    expect, page = playwright.expect, browser.page
    page.goto(server.address)
    expect(page.locator("#notice-text")).to_contain_text("You may stop at any time.")
    # What is not yet known when someone agrees: how much, how long, how to look, by which keys.
    facts = [each.inner_text() for each in page.locator("#facts li:visible").all()]
    assert facts[0].startswith("6 pairs of images, about 3 minutes.")
    assert "double-click" in facts[1] and "Both images move together" in facts[1]
    assert facts[2].startswith("Keys: 1 = A is better, 0 = No difference, 2 = B is better, z =")
    link = begin(page, server)
    assert "#" not in page.url

    # By keys: three kinds of answer. By mouse: the same.
    answer(page, "1", "0", "2")
    is_seen(page, 1)
    page.click("#choices >> text=A is better")
    page.click("#choices >> text=No difference")
    page.click("#choices >> text=B is better")
    is_seen(page, 2)

    # Back, within a pair and to the one before: what was answered is marked.
    answer(page, "ArrowLeft", "ArrowRight")
    page.keyboard.press("b")
    page.keyboard.press("b")
    expect(page.locator("#questions .now h2")).to_contain_text("1 of 3")
    page.keyboard.press("b")
    expect(page.locator("#status")).to_contain_text("answer again to change it")
    expect(page.locator("[aria-pressed=true]").first).to_contain_text("A is better")
    expect(page.locator("html")).to_have_attribute("data-seen", "true")
    answer(page, "2", "2", "2")
    is_seen(page, 2)

    # A pause, and back by the personal link in a browser that knows nothing.
    page.click("#pause")
    expect(page.locator("#notice-title")).to_have_text("Paused")
    page.click("#leave")
    expect(page.locator("#notice-title")).to_have_text("Goodbye")
    browser.context.clear_cookies()
    page.goto(link)
    is_seen(page, 2)
    for done in range(2, 6):
        is_seen(page, done)
        answer(page, "1", "1", "1")
    expect(page.locator("#notice-title")).to_have_text("Thank you")
    expect(page.locator("#count")).to_have_text("6 of 6")
    page.reload()
    expect(page.locator("#notice-text")).to_have_text("That was all. Thank you for taking part!")

    answers = exported(study)
    assert len(answers) == 6 * 3
    assert {a.participant for a in answers} == {"p-0001"}
    assert Counter(a.check for a in answers) == {"": 9, "degraded": 6, "identical": 3}
    second = [a for a in answers if a.at == sorted({b.at for b in answers})[1]]
    assert all(a.choice == ("model_b" if a.first == a.model_a else "model_a") for a in second[:1])

    page.goto(server.dashboard)
    expect(page.locator("#title")).to_have_text("A fake study")
    assert "#" not in page.url
    expect(page.locator("#progress")).to_contain_text("Answered6")
    expect(page.locator("#wins tbody tr")).to_have_count(3)
    expect(page.locator("#people .flagged")).to_contain_text("attention checks")
    expect(page.locator("#people .flagged")).to_contain_text("done")
    expect(page.locator("#wins .interval").first).to_contain_text("% to ")
    page.check("#without")
    expect(page.locator("#wins tbody tr")).to_have_count(0)
    page.uncheck("#without")
    with page.expect_download() as download:
        page.click("text=CSV")
    assert read_answers(download.value.path().rename(study.with_name("got.csv"))) == answers


def test_both_images_move_as_one_and_are_exact_at_100_percent(
    browser: Browser, server: Server, tmp_path: Path
) -> None:
    expect, page = playwright.expect, browser.page
    begin(page, server)
    originals = [
        np.asarray(Image.open(path).convert("RGB"))
        for path in sorted(tmp_path.glob("images-*/*.png"))
    ] + [np.asarray(Image.open(p).convert("RGB")) for p in (tmp_path / "kept/checks").glob("*.jpg")]
    page.keyboard.press("z")
    expect(page.locator("#scale")).to_have_text("100%")
    expect(page.locator("#zoom")).to_have_attribute("aria-pressed", "true")
    first = places(page, originals)
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowDown")
    second = places(page, originals)
    assert first[0] == first[1]
    assert second[0] == second[1]
    assert second[0] > first[0]
    # The next question leaves everything where it is.
    page.keyboard.press("1")
    assert places(page, originals) == second
    page.keyboard.press("z")
    expect(page.locator("#scale")).not_to_have_text("100%")


def places(page: playwright.Page, originals: list[np.ndarray]) -> list[tuple[int, int]]:
    """Where in an original the middle of each image is, of which it must be a part to the bit."""
    page.wait_for_timeout(700)
    found = []
    for index in range(2):
        box = page.locator(".picture").nth(index).bounding_box()
        assert box
        clip = {"x": int(box["x"]) + 150, "y": int(box["y"]) + 100, "width": 200, "height": 150}
        view = np.asarray(Image.open(io.BytesIO(page.screenshot(clip=clip))).convert("RGB"))
        found.append(next(place for o in originals if (place := place_of(view, o))))
    return found


def place_of(view: np.ndarray, original: np.ndarray) -> tuple[int, int] | None:
    height, width = view.shape[:2]
    for top, left in np.argwhere((original == view[0, 0]).all(-1)):
        if np.array_equal(original[top : top + height, left : left + width], view):
            return int(left), int(top)
    return None


def test_an_answer_waits_for_a_server_that_is_gone(
    chromium: playwright.Browser, study: Path
) -> None:
    """Here the console may complain, as requests fail."""
    expect, page = playwright.expect, chromium.new_page()
    with serving(study) as server:
        port = int(server.address.rstrip("/").rpartition(":")[2])
        link = begin(page, server)
        server.stop(signal.SIGKILL)
        answer(page, "1", "1", "1")
        expect(page.locator("#problem")).to_contain_text("It stays here and is sent again.")
    with serving(study, port=port):
        is_seen(page, 1)
        expect(page.locator("#problem")).to_have_text("")
    # Also where the window was closed in between.
    answer(page, "2", "2", "2")
    expect(page.locator("#problem")).to_contain_text("not saved yet")
    page.close(run_before_unload=False)
    assert len(exported(study)) == 3
    with serving(study, port=port):
        # The same browser, as what is kept is kept there.
        context = chromium.new_context()
        page = context.new_page()
        page.goto(link)
        is_seen(page, 1)
        page.evaluate(
            """() => localStorage.setItem("outbox/p-0001", JSON.stringify({
                 position: 1, key: "kept-by-the-browser", seconds: 2,
                 choices: {visual_aesthetics: "left", prompt_adherence: "tie", fine_details: "left"}
               }))"""
        )
        page.reload()
        is_seen(page, 2)
        assert page.evaluate("localStorage.getItem('outbox/p-0001')") is None
        context.close()
    assert len(exported(study)) == 6


def test_a_page_under_another_link_answers_for_nobody(
    chromium: playwright.Browser, server: Server, study: Path
) -> None:
    context = chromium.new_context()
    first, second = context.new_page(), context.new_page()
    begin(first, server)
    context.clear_cookies()
    begin(second, server)
    answer(first, "1", "1", "1")
    playwright.expect(first.locator("#notice-text")).to_contain_text("belongs to another link")
    assert exported(study) == []
    context.close()


def test_an_image_that_is_gone_is_passed_over(
    chromium: playwright.Browser, server: Server, tmp_path: Path, study: Path
) -> None:
    page = chromium.new_page()
    for path in (tmp_path / "images-0").glob("*.png"):
        path.unlink()
    agree(page, server)
    expect = playwright.expect
    for done in range(6):
        expect(page.locator("#count")).to_have_text(f"{done} of 6")
        expect(page.locator("html")).not_to_have_attribute("data-seen", "false")
        if page.locator("html").get_attribute("data-seen") == "true":
            answer(page, "1", "1", "1")
        else:
            expect(page.locator("#problem")).to_contain_text("Continue, and please tell")
            page.keyboard.press("Enter")
    expect(page.locator("#notice-title")).to_have_text("Thank you")
    page.close()


@pytest.mark.parametrize("size", SIZES, ids=["desktop", "tablet", "upright"])
def test_everything_fits_and_axe_finds_nothing_serious(
    browser: Browser, server: Server, size: tuple[int, int]
) -> None:
    page = browser.page
    page.set_viewport_size({"width": size[0], "height": size[1]})
    page.goto(server.address)
    page.wait_for_selector("#go:visible")
    is_accessible(page)
    begin(page, server)
    is_accessible(page)
    assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")
    for name in ("#choices button", "#back", "#zoom", "#pause", "#count", ".now p"):
        for box in (found.bounding_box() for found in page.locator(name).all()):
            assert box and box["x"] >= 0 and box["y"] >= 0
            assert box["x"] + box["width"] <= size[0]
            assert box["y"] + box["height"] <= size[1]
    for figure in page.locator(".picture").all():
        box = figure.bounding_box()
        assert box and min(box["width"], box["height"]) > 250
    if size[0] > 820:
        page.click("summary")
        is_accessible(page)
    page.click("#pause")
    is_accessible(page)
    page.click("#go")
    for done in range(6):
        is_seen(page, done)
        answer(page, "1", "2", "0")
    page.wait_for_selector("text=Thank you")
    is_accessible(page)
    page.goto(server.dashboard)
    page.wait_for_selector("#people tbody tr")
    is_accessible(page)
    assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")


PHONES = [(390, 844), (844, 390), (360, 640)]


@pytest.mark.parametrize("size", PHONES, ids=["upright", "on its side", "small"])
def test_on_a_phone(
    chromium: playwright.Browser, server: Server, size: tuple[int, int], study: Path
) -> None:
    """Images have the height, the title is whole, and no key is mentioned where there are none."""
    expect = playwright.expect
    width, height = size
    viewport = {"width": width, "height": height}
    context = chromium.new_context(
        viewport=viewport, device_scale_factor=2, is_mobile=True, has_touch=True
    )
    page = context.new_page()
    page.goto(server.address)
    expect(page.locator("#facts li:visible").nth(1)).to_contain_text("double-tap")
    assert "Keys" not in page.inner_text("#facts") and "click" not in page.inner_text("#facts")
    page.tap("#go")
    expect(page.locator("#link")).to_be_visible()
    page.tap("#go")
    is_seen(page, 0)
    assert page.locator("kbd:visible").count() == page.locator("#help:visible").count() == 0
    title = "document.getElementById('title')"
    assert page.evaluate(f"{title}.scrollWidth <= {title}.clientWidth")
    assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")
    # Of the paper's questions the last one is long: its rest is a tap away.
    for _ in range(2):
        pictures = page.locator("#pictures").bounding_box()
        assert pictures and pictures["height"] > (0.6 if height > 700 else 0.5) * height
        page.tap("#choices >> text=A is better")
    expect(page.locator("#questions .now h2")).to_contain_text("3 of 3: Fine Details")
    expect(page.locator("#more")).to_have_attribute("aria-expanded", "false")
    is_accessible(page)
    page.tap("#more")
    expect(page.locator("#questions .now p")).to_contain_text("Ignore other aspects.")
    expect(page.locator("#more")).to_have_text("less")
    text = "document.querySelector('#questions .now p')"
    assert page.evaluate(f"{text}.scrollHeight <= {text}.clientHeight + 1")
    page.tap("#choices >> text=A is better")
    is_seen(page, 1)
    for name in ("#choices button", "#back", "#zoom", "#pause", "#count"):
        for box in (found.bounding_box() for found in page.locator(name).all()):
            assert box and box["x"] >= 0 and box["x"] + box["width"] <= width
            assert box["y"] >= 0 and box["y"] + box["height"] <= height
    page.goto(server.dashboard)
    expect(page.locator("#people tbody tr")).to_have_count(1)
    is_accessible(page)
    assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")
    # Headings of columns are for those who listen: each cell shows its own.
    # (All at once, as the page draws them anew every few seconds.)
    cells = page.evaluate(
        """() => [...document.querySelectorAll("tbody td, tbody th")].map(
             (cell) => [cell.innerText, cell.getBoundingClientRect()].flatMap(
               (each) => each.left === undefined ? [each] : [each.left, each.right]))"""
    )
    assert len(cells) > 20
    assert [cell for cell in cells if cell[1] < 0 or cell[2] > width] == []
    context.close()
