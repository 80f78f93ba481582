"""The page in a real browser: every key, what it does to the log, and what is seen at 100%."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffusion4k.curation.inspection.decisions import latest_decisions
from tests.curation.inspection.fake import make_dataset
from tests.curation.inspection.server import Server, serving

pytestmark = pytest.mark.e2e

playwright = pytest.importorskip(
    "playwright.sync_api", reason="no playwright: `pip install playwright`"
)
SIZE = (1500, 1100)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Five candidates that no step has dropped: 0, 1, 3, 4, 6."""
    return make_dataset(tmp_path / "dataset", 7, SIZE)


@pytest.fixture
def server(dataset: Path) -> Iterator[Server]:
    with serving(dataset) as server:
        yield server


@pytest.fixture
def page(chromium: playwright.Browser, server: Server) -> Iterator[playwright.Page]:
    """The page as it opens; whatever its console complains of, or asks others for, fails."""
    context = chromium.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    troubles: list[str] = []
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("console", lambda m: troubles.append(m.text) if m.type != "log" else None)
    origin = server.address.partition("?")[0]
    page.on("request", lambda r: None if r.url.startswith(origin) else troubles.append(r.url))
    page.goto(server.address)
    is_shown(page, "0.png")
    yield page
    context.close()
    assert troubles == []


def is_shown(page: playwright.Page, name: str) -> None:
    playwright.expect(page.locator("#name")).to_have_text(name)
    # All pixels of the view are there: before, no decision is taken.
    playwright.expect(page.locator("html")).to_have_attribute("data-seen", "true")


def press(page: playwright.Page, key: str, then: str) -> None:
    page.keyboard.press(key)
    is_shown(page, then)


def held(dataset: Path) -> dict[str, tuple[str, str | None, str | None]]:
    decisions = latest_decisions(dataset / "decisions.sqlite").values()
    return {d.name: (d.decision, d.reason, d.caption) for d in decisions}


def test_the_whole_road(page: playwright.Page, dataset: Path) -> None:
    expect = playwright.expect
    assert "token" not in page.url
    press(page, "a", then="1.png")
    press(page, "2", then="3.png")
    assert held(dataset) == {
        "0.png": ("accepted", None, None),
        "1.png": ("rejected", "out of focus", None),
    }

    page.keyboard.press("e")
    expect(page.locator("#caption")).to_be_focused()
    page.keyboard.press("Control+a")
    page.keyboard.type("a better one: z a r 1")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#status")).to_have_text("3.png: caption corrected")
    assert held(dataset)["3.png"] == ("undecided", None, "a better one: z a r 1")
    page.keyboard.press("e")
    page.keyboard.type("not to be kept")
    page.keyboard.press("Escape")
    expect(page.locator("#caption")).to_have_value("a better one: z a r 1")
    expect(page.locator("#caption")).not_to_be_focused()

    press(page, "r", then="4.png")
    assert held(dataset)["3.png"] == ("rejected", None, "a better one: z a r 1")
    press(page, "u", then="3.png")
    expect(page.locator("#verdict")).to_have_text("undecided")
    page.keyboard.press("u")
    expect(page.locator("#caption")).to_have_value("picture number 3")
    press(page, "u", then="1.png")
    press(page, "ArrowLeft", then="0.png")
    expect(page.locator("#verdict")).to_have_text("accepted")
    expect(page.locator("#progress")).to_contain_text("1 of 5 decided: 1 accepted, 0 rejected")

    press(page, "ArrowRight", then="1.png")
    page.reload()
    is_shown(page, "1.png")
    expect(page.locator("#progress")).to_contain_text("1 of 5 decided: 1 accepted, 0 rejected")
    expect(page.locator("#position")).to_have_text("1 of 4 in this list")
    assert held(dataset)["0.png"] == ("accepted", None, None)
    assert held(dataset)["1.png"] == ("undecided", None, None)


def test_at_100_percent_a_pixel_is_a_pixel(page: playwright.Page, tmp_path: Path) -> None:
    expect = playwright.expect
    expect(page.locator("#scale")).not_to_have_text("100%")
    original = np.asarray(Image.open(tmp_path / "source" / "0.png").convert("RGB"))
    page.mouse.move(500, 400)
    page.keyboard.press("z")
    expect(page.locator("#scale")).to_have_text("100%")
    first = place_of(seen(page), original)
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowDown")
    second = place_of(seen(page), original)
    assert second[0] > first[0]
    assert second[1] > first[1]
    page.mouse.move(400, 400)
    page.mouse.down()
    page.mouse.move(447, 431, steps=5)
    page.mouse.up()
    third = place_of(seen(page), original)
    assert third[0] < second[0]
    assert third[1] < second[1]
    page.keyboard.press("z")
    expect(page.locator("#scale")).not_to_have_text("100%")


def seen(page: playwright.Page) -> np.ndarray:
    """The middle of the picture as the screen shows it, once it moves no more."""
    page.wait_for_timeout(600)
    box = page.locator("#picture").bounding_box()
    assert box
    clip = {"x": int(box["x"]) + 200, "y": int(box["y"]) + 150, "width": 400, "height": 300}
    return np.asarray(Image.open(io.BytesIO(page.screenshot(clip=clip))).convert("RGB"))


def place_of(view: np.ndarray, original: np.ndarray) -> tuple[int, int]:
    """Left and top of the view in the picture, of which it must be a part to the bit."""
    height, width = view.shape[:2]
    starts = np.argwhere((original == view[0, 0]).all(-1))
    for top, left in starts:
        if np.array_equal(original[top : top + height, left : left + width], view):
            return int(left), int(top)
    raise AssertionError("what is seen is no part of the picture")


def test_filter_order_skip_and_the_end_of_the_list(page: playwright.Page, dataset: Path) -> None:
    expect = playwright.expect
    page.select_option("#order", label="sharpness, lowest first")
    is_shown(page, "6.png")
    press(page, "s", then="4.png")
    press(page, "a", then="3.png")
    page.select_option("#show", "accepted")
    is_shown(page, "4.png")
    expect(page.locator("#position")).to_have_text("1 of 1 in this list")
    page.select_option("#show", "undecided")
    for name, following in (("6.png", "3.png"), ("3.png", "1.png"), ("1.png", "0.png")):
        is_shown(page, name)
        press(page, "a", then=following)
    page.keyboard.press("1")
    expect(page.locator("#nothing")).to_have_text("Nothing in this list. Choose another one above.")
    assert {decision for decision, _, _ in held(dataset).values()} == {"accepted", "rejected"}
    assert len(held(dataset)) == 5
    press(page, "u", then="0.png")
    expect(page.locator("#verdict")).to_have_text("undecided")


def test_keys_of_one_letter_can_be_turned_off(page: playwright.Page, dataset: Path) -> None:
    page.click("summary")
    page.uncheck("#keys")
    page.locator("#name").focus()
    page.keyboard.press("a")
    press(page, "ArrowRight", then="1.png")
    assert held(dataset) == {}
    page.click("#accept")
    is_shown(page, "3.png")
    assert held(dataset) == {"1.png": ("accepted", None, None)}


def test_a_caption_that_is_being_written_is_not_lost(page: playwright.Page) -> None:
    page.keyboard.press("e")
    page.keyboard.type("half a sent")
    page.click("#next")
    expect = playwright.expect
    expect(page.locator("#problem")).to_have_text("Save or discard the caption first.")
    expect(page.locator("#caption")).to_be_focused()
    expect(page.locator("#name")).to_have_text("0.png")
    page.keyboard.press("Escape")


def test_texts_are_no_markup(
    chromium: playwright.Browser, dataset: Path, server: Server, page: playwright.Page
) -> None:
    nasty = "<img src=x onerror=alert(1)><script>alert(2)</script>"
    page.keyboard.press("e")
    page.keyboard.press("Control+a")
    page.keyboard.insert_text(nasty)
    page.keyboard.press("Control+Enter")
    playwright.expect(page.locator("#corrected")).to_have_text("· corrected")
    page.reload()
    playwright.expect(page.locator("#caption")).to_have_value(nasty)
    assert held(dataset)["0.png"][2] == nasty
    assert page.locator("aside img, aside script").count() == 0


def test_a_broken_picture_and_a_server_that_is_gone(
    chromium: playwright.Browser, dataset: Path, tmp_path: Path
) -> None:
    """Here the console may complain, as requests fail."""
    broken = tmp_path / "source" / "0.png"
    broken.write_bytes(broken.read_bytes()[:20_000])
    (tmp_path / "source" / "1.png").unlink()
    expect = playwright.expect
    with serving(dataset) as server:
        page = chromium.new_page()
        page.goto(server.address)
        is_shown(page, "0.png")
        expect(page.locator("#nothing")).to_contain_text("0.png: damaged or truncated image")
        press(page, "9", then="1.png")
        expect(page.locator("#nothing")).to_contain_text("1.png: No such file")
        press(page, "r", then="3.png")
        expect(page.locator("#nothing")).to_be_hidden()
        server.process.kill()
        server.process.wait()
        page.keyboard.press("a")
        expect(page.locator("#problem")).to_have_text(
            "The server does not answer: is it still running?"
        )
        expect(page.locator("#name")).to_have_text("3.png")
        page.close()
    assert held(dataset) == {
        "0.png": ("rejected", "unsuitable", None),
        "1.png": ("rejected", None, None),
    }


@pytest.mark.parametrize("size", [(1440, 900), (1024, 768)])
def test_everything_fits_and_has_a_name(page: playwright.Page, size: tuple[int, int]) -> None:
    page.set_viewport_size({"width": size[0], "height": size[1]})
    assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")
    playwright.expect(page.locator("#zoom")).to_have_attribute("aria-pressed", "false")
    for name in (
        "#accept",
        "#reject",
        "#undo",
        "#skip",
        "#next",
        "#zoom",
        "#reasons > :last-child",
    ):
        box = page.locator(name).bounding_box()
        assert box
        assert box["x"] + box["width"] <= size[0]
        assert box["y"] + box["height"] <= size[1]
    tree = page.locator("body").aria_snapshot()
    for part in (
        'combobox "Show"',
        'combobox "Order"',
        'progressbar "decided"',
        'img "0.png. picture number 0"',
        'textbox "Caption"',
        'button "Accept a"',
        'group "Reject with a reason"',
        'rowheader "sharpness"',
    ):
        assert part in tree, tree
    for name in ("#accept", "#reject", "#facts", "#verdict", "#scale", "dt", "th"):
        assert contrast(page, name) >= 4.5, name


def contrast(page: playwright.Page, selector: str) -> float:
    """Ratio of luminances of text and background, as WCAG 2 defines it."""
    colours = page.locator(selector).first.evaluate(
        """element => {
          const ink = getComputedStyle(element).color;
          let ground = "rgba(0, 0, 0, 0)";
          for (let e = element; e && ground === "rgba(0, 0, 0, 0)"; e = e.parentElement)
            ground = getComputedStyle(e).backgroundColor;
          return [ink, ground].map(c => c.match(/[\\d.]+/g).slice(0, 3).map(Number));
        }"""
    )
    lights = []
    for colour in colours:
        linear = [
            v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4
            for v in (channel / 255 for channel in colour)
        ]
        lights.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])
    return (max(lights) + 0.05) / (min(lights) + 0.05)
