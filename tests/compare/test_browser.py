"""The page in a real browser, opened from a file: links, views, keys, touch, and exact pixels."""

import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffusion4k.compare.build import compare
from tests.imagesets.conftest import picture

pytestmark = pytest.mark.e2e

playwright = pytest.importorskip(
    "playwright.sync_api", reason="no playwright: `pip install playwright`"
)
SIZE = (1500, 1500)
NAMES = ("first", "second", "third")
NASTY = "<img src=x onerror=alert(1)><script>alert(2)</script>"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three models and their page: the second prompt has other sizes, the third lacks an image."""
    place = tmp_path_factory.mktemp("compared")
    for number, name in enumerate(NAMES):
        (place / name).mkdir()
        for file in "abc"[: 2 if name == "third" else 3]:
            size = (1600, 900) if (name, file) == ("second", "b") else SIZE
            picture(*size, 10 * number + ord(file)).save(place / name / f"{file}.png")
        row = f'{{"file_name": "a.png", "text": "{NASTY}"}}'
        (place / name / "metadata.jsonl").write_text(row)
    compare([str(place / name) for name in NAMES], place / "page")
    return place


@pytest.fixture
def folders(place: Path) -> list[Path]:
    return [place / name for name in NAMES]


@pytest.fixture
def page(chromium: playwright.Browser, place: Path) -> Iterator[playwright.Page]:
    """As it opens on a desktop; whatever the console says, or leaves the folder, fails."""
    yield from opened(chromium, place, viewport={"width": 1440, "height": 900})


@pytest.fixture
def phone(chromium: playwright.Browser, place: Path) -> Iterator[playwright.Page]:
    """The same on a phone with a fine screen."""
    size = {"width": 390, "height": 800}
    options = {"device_scale_factor": 2, "is_mobile": True, "has_touch": True}
    yield from opened(chromium, place, viewport=size, **options)


def opened(
    chromium: playwright.Browser, place: Path, **options: object
) -> Iterator[playwright.Page]:
    context = chromium.new_context(**options)
    page = context.new_page()
    troubles: list[str] = []
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("console", lambda message: said(message.text, troubles))
    page.on("dialog", lambda dialog: (troubles.append("a script of the data ran"), dialog.accept()))
    origin = (place / "page").as_uri()
    page.on("request", lambda r: None if r.url.startswith(origin) else troubles.append(r.url))
    page.on("requestfailed", lambda r: failed(r, troubles))
    page.goto(f"{origin}/index.html")
    is_shown(page, 1)
    yield page
    context.close()
    assert troubles == []


def said(text: str, troubles: list[str]) -> None:
    # OpenSeadragon says so of tiles that come when others are shown already.
    if not text.startswith("Ignoring tile"):
        troubles.append(text)


def failed(request: playwright.Request, troubles: list[str]) -> None:
    # Whoever moves on before all is there gives up the rest.
    if request.failure != "net::ERR_ABORTED":
        troubles.append(f"{request.failure}: {request.url}")


def is_shown(page: playwright.Page, row: int) -> None:
    playwright.expect(page.locator("#position")).to_have_text(f"{row} of 3")
    playwright.expect(page.locator("html")).to_have_attribute("data-seen", "true")


def scales(page: playwright.Page) -> list[str]:
    return page.locator("figcaption .scale").all_inner_texts()


def views(page: playwright.Page) -> list[dict[str, float]]:
    """Of each picture the centre, in parts of its sides, and the screen's pixels for one of it."""
    return page.evaluate(
        """() => viewers.viewers.filter(v => v.world.getItemCount()).map(v => {
          const centre = v.viewport.getCenter(true), item = v.world.getItemAt(0);
          const {x, y} = item.getContentSize();
          return {x: centre.x, y: centre.y * x / y, share: v.viewport.getZoom(true) /
            v.viewport.getHomeZoom(), scale: v.viewport.getZoom(true) /
            item.imageToViewportZoom(1 / devicePixelRatio)};
        })"""
    )


def seen(page: playwright.Page, index: int) -> np.ndarray:
    """What the screen shows of a picture, in its own pixels, once it moves no more."""
    page.wait_for_timeout(500)
    box = page.locator(".view > div").nth(index).bounding_box()
    assert box
    inner = {k: int(box[k]) + 30 for k in ("x", "y")} | {"width": 120, "height": 90}
    return np.asarray(Image.open(io.BytesIO(page.screenshot(clip=inner))).convert("RGB"))


def place_of(view: np.ndarray, path: Path) -> tuple[int, int]:
    """Left and top of the view in the picture, of which it must be a part to the bit."""
    original = np.asarray(Image.open(path).convert("RGB"))
    height, width = view.shape[:2]
    for top, left in np.argwhere((original == view[0, 0]).all(-1)):
        if np.array_equal(original[top : top + height, left : left + width], view):
            return int(left), int(top)
    raise AssertionError("what is seen is no part of the picture")


def test_at_100_percent_every_picture_shows_its_own_pixels(
    page: playwright.Page, folders: list[Path]
) -> None:
    page.keyboard.press("z")
    playwright.expect(page.locator("#zoom")).to_have_attribute("aria-pressed", "true")
    assert scales(page) == ["100%"] * 3
    first = [place_of(seen(page, i), folder / "a.png") for i, folder in enumerate(folders)]
    assert first[0] == first[1] == first[2]
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowDown")
    second = [place_of(seen(page, i), folder / "a.png") for i, folder in enumerate(folders)]
    assert second[0] == second[1] == second[2]
    assert second[0][0] > first[0][0] and second[0][1] > first[0][1]
    page.mouse.move(500, 300)
    page.mouse.down()
    page.mouse.move(547, 331, steps=5)
    page.mouse.up()
    third = [place_of(seen(page, i), folder / "a.png") for i, folder in enumerate(folders)]
    assert third[0] == third[1] == third[2]
    assert third[0][0] == second[0][0] - 47 and third[0][1] == second[0][1] - 31
    page.keyboard.press("z")
    playwright.expect(page.locator("#zoom")).to_have_attribute("aria-pressed", "false")


def test_the_wheel_moves_all(page: playwright.Page) -> None:
    before = views(page)[0]["scale"]
    page.mouse.move(400, 300)
    page.mouse.wheel(0, -500)
    page.wait_for_timeout(600)
    first, *others = views(page)
    assert first["scale"] > 1.15 * before
    assert first["x"] != pytest.approx(0.5, abs=1e-3)
    for other in others:
        assert other == pytest.approx(first, rel=1e-6)
    page.keyboard.press("0")
    assert [view["x"] for view in views(page)] == pytest.approx([0.5] * 3)


def test_sizes_that_differ(page: playwright.Page) -> None:
    playwright.expect(page.locator("#linked")).to_be_hidden()
    page.keyboard.press("ArrowRight")
    is_shown(page, 2)
    playwright.expect(page.locator("#linked")).to_be_visible()
    playwright.expect(page.locator("#note")).to_contain_text("Sizes differ")
    assert [view["share"] for view in views(page)] == pytest.approx([1, 1, 1], rel=1e-3)
    page.mouse.move(400, 300)
    page.mouse.wheel(0, -500)
    page.wait_for_timeout(600)
    first, wide, third = views(page)
    for key in ("x", "y", "share"):
        assert first[key] == pytest.approx(wide[key], rel=1e-6)
        assert first[key] == pytest.approx(third[key], rel=1e-6)
    assert first["scale"] != pytest.approx(wide["scale"], rel=1e-2)
    page.select_option("#unit", "pixels")
    first, wide, third = views(page)
    for key in ("x", "y", "scale"):
        assert first[key] == pytest.approx(wide[key], rel=1e-6)
    page.keyboard.press("0")
    page.select_option("#unit", "parts")
    page.keyboard.press("z")
    assert scales(page) == ["100%"] * 3
    assert page.locator("#unit").input_value() == "pixels"


def test_missing_images_and_markup(page: playwright.Page) -> None:
    assert page.locator("#prompt").inner_text() == NASTY
    assert page.locator("main img, nav img, main script, nav script").count() == 0
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    is_shown(page, 3)
    playwright.expect(page.locator(".nothing").nth(2)).to_have_text("no image for this prompt")
    playwright.expect(page.locator(".nothing").nth(0)).to_be_hidden()
    assert len(views(page)) == 2
    page.keyboard.press("z")
    assert scales(page) == ["100%", "100%", ""]
    page.keyboard.press("ArrowLeft")
    is_shown(page, 2)
    page.reload()
    is_shown(page, 2)


def test_slider(page: playwright.Page, folders: list[Path]) -> None:
    page.keyboard.press("c")
    page.keyboard.press("z")
    page.wait_for_timeout(500)
    box = page.locator(".view").nth(0).bounding_box()
    assert box
    middle = {"x": box["x"] + box["width"] / 2, "y": box["y"] + 200}

    def pixels(offset: int) -> np.ndarray:
        clip = {"x": int(middle["x"]) + offset, "y": middle["y"], "width": 60, "height": 50}
        return np.asarray(Image.open(io.BytesIO(page.screenshot(clip=clip))).convert("RGB"))

    left = place_of(pixels(-200), folders[0] / "a.png")
    right = place_of(pixels(140), folders[1] / "a.png")
    assert right == (left[0] + 340, left[1])
    handle = page.locator("#handle")
    page.mouse.move(middle["x"], middle["y"])
    page.mouse.down()
    page.mouse.move(middle["x"] + 250, middle["y"], steps=5)
    page.mouse.up()
    assert place_of(pixels(140), folders[0] / "a.png") == right
    before = int(handle.get_attribute("aria-valuenow") or 0)
    handle.focus()
    page.keyboard.press("ArrowLeft")
    assert int(handle.get_attribute("aria-valuenow") or 0) == before - 2
    page.keyboard.press("Home")
    page.locator("h2").first.focus()
    page.keyboard.press("3")
    assert page.locator("#right").input_value() == "2"
    assert place_of(pixels(-200), folders[2] / "a.png") == left
    playwright.expect(page.locator("figure.right strong")).to_have_text("third")


def test_flicker_shows_the_same_place_at_once(page: playwright.Page, folders: list[Path]) -> None:
    page.keyboard.press("f")
    page.keyboard.press("z")
    first = place_of(seen(page, 0), folders[0] / "a.png")
    page.keyboard.press(" ")
    assert place_of(seen(page, 1), folders[1] / "a.png") == first
    page.keyboard.press("3")
    assert place_of(seen(page, 2), folders[2] / "a.png") == first
    page.keyboard.press(" ")
    playwright.expect(page.locator("figcaption:visible strong")).to_have_text("first")
    page.keyboard.press("b")
    playwright.expect(page.locator("figcaption:visible strong")).to_have_text("second")
    page.keyboard.press("s")
    playwright.expect(page.locator("#blink")).to_have_attribute("aria-pressed", "false")
    assert page.locator("figcaption:visible").count() == 3


def test_help_and_names(page: playwright.Page) -> None:
    page.keyboard.press("?")
    playwright.expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    page.keyboard.press("z")  # keys are off while it is open
    page.keyboard.press("Escape")
    playwright.expect(page.locator("dialog")).to_be_hidden()
    assert scales(page) != ["100%"] * 3
    assert page.get_by_role("img", name="first: <img").count() == 1
    page.click("#help")
    page.get_by_label("Keys of one letter, digit or sign are on").uncheck()
    page.keyboard.press("Escape")
    page.keyboard.press("f")
    assert page.locator("body").get_attribute("data-mode") == "side"
    page.keyboard.press("ArrowRight")
    is_shown(page, 2)
    assert page.get_by_role("navigation", name="Prompts").count() == 1


def test_a_tile_that_is_gone_is_told(
    chromium: playwright.Browser, place: Path, tmp_path: Path
) -> None:
    """Here the console may complain."""
    shutil.copytree(place / "page", tmp_path / "page")
    for tile in (tmp_path / "page" / "tiles").glob("*/9/*"):
        tile.unlink()
    page = chromium.new_page()
    page.goto((tmp_path / "page" / "index.html").as_uri())
    playwright.expect(page.locator(".nothing").first).to_have_text(
        "a part of this image is missing"
    )
    page.close()


@pytest.mark.parametrize("mode", ["s", "c", "f"])
def test_nothing_that_axe_knows_of_is_wrong(page: playwright.Page, mode: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page.keyboard.press(mode)
    found = axe.Axe().run(page, options={"preload": False})
    assert found.violations_count == 0, found.generate_report()


def test_a_phone(phone: playwright.Page, folders: list[Path]) -> None:
    page = phone
    assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")
    for name in ("#list", "#zoom", "#next", "#modes button >> nth=2"):
        box = page.locator(name).bounding_box()
        assert box and box["x"] + box["width"] <= 390 and box["height"] >= 44
    page.tap("#zoom")
    page.wait_for_timeout(500)
    assert scales(page) == ["100%"] * 3
    first = [place_of(seen(page, i), folder / "a.png") for i, folder in enumerate(folders)]
    # Views may differ in height, by the lines of their captions.
    assert np.ptp(first, axis=0).max() <= 8
    assert np.ptp([[view["x"], view["y"]] for view in views(page)], axis=0).max() < 1e-3
    touch = page.context.new_cdp_session(page)

    def send(kind: str, *points: tuple[float, float]) -> None:
        fingers = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(points)]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": fingers})

    box = page.locator(".view").nth(0).bounding_box()
    assert box
    x, y = box["x"] + 80, box["y"] + 60
    send("touchStart", (x, y))
    for step in range(1, 6):
        send("touchMove", (x - 6 * step, y - 4 * step))
    send("touchEnd")
    page.wait_for_timeout(500)
    second = [place_of(seen(page, i), folder / "a.png") for i, folder in enumerate(folders)]
    moves = np.subtract(second, first)
    assert np.ptp(moves, axis=0).max() <= 1
    assert second[0][0] > first[0][0] and second[0][1] > first[0][1]
    before = views(page)[0]["scale"]
    send("touchStart", (x - 20, y), (x + 20, y))
    for step in range(1, 6):
        send("touchMove", (x - 20 - 6 * step, y), (x + 20 + 6 * step, y))
    send("touchEnd")
    page.wait_for_timeout(600)
    zoomed = views(page)
    assert zoomed[0]["scale"] > 1.5 * before
    assert zoomed[1] == pytest.approx(zoomed[0], rel=1e-6)
    page.tap("#modes button >> nth=1")
    handle = page.locator("#handle").bounding_box()
    assert handle
    x, y = handle["x"] + handle["width"] / 2, handle["y"] + handle["height"] / 2
    send("touchStart", (x, y))
    send("touchMove", (x - 50, y))
    send("touchMove", (x - 100, y))
    send("touchEnd")
    assert 20 <= int(page.locator("#handle").get_attribute("aria-valuenow") or 0) <= 27
    while not page.locator("nav").is_visible():
        page.wait_for_timeout(600)  # a tap while a swipe rolls on only stops it
        page.tap("#list")
    page.locator("nav button").nth(2).tap()
    is_shown(page, 3)
    playwright.expect(page.locator("nav")).to_be_hidden()


def test_many_numbers_leave_the_picture_its_room(
    chromium: playwright.Browser, place: Path, tmp_path: Path
) -> None:
    numbers = {f"measure_{n}": n / 7 for n in range(40)}
    results = tmp_path / "results.json"
    results.write_text(json.dumps({"images": {"a.png": numbers}}))
    folders = [str(place / name) for name in NAMES]
    compare(folders, tmp_path / "page", results=[f"first={results}"])
    size = {"width": 390, "height": 800}
    for page in opened(chromium, tmp_path, viewport=size, is_mobile=True, has_touch=True):
        heights = [view.bounding_box()["height"] for view in page.locator(".view").all()]
        assert min(heights) > 80
        shown = page.locator("dl.numbers").first
        assert shown.get_attribute("tabindex") == "0"
        shown.get_by_text("measure 39").scroll_into_view_if_needed()
        assert shown.evaluate("e => e.scrollTop") > 0
