"""Ratings and inspections in a real browser."""

import csv
from pathlib import Path

import pytest

from diffusion4k.curation.inspection.decisions import latest_decisions
from tests.curation.inspection.fake import make_dataset
from tests.preference.study.browser import Browser, agree, is_accessible, playwright
from tests.preference.study.fake import make_images, make_study, write_study
from tests.preference.study.server import command, serving

pytestmark = pytest.mark.e2e


def test_ratings_of_patches(chromium: playwright.Browser, tmp_path: Path) -> None:
    folder = make_images(tmp_path / "images", 2, 1, (300, 200))
    study = write_study(
        tmp_path,
        {
            "name": "patches",
            "title": "Patches",
            "folder": str(tmp_path / "kept"),
            "participants": {"open": True},
            "task": {
                "kind": "rating",
                "images": {"wlf": str(folder)},
                "patches": {"size": 96, "per_image": 2},
            },
        },
    )
    with serving(study) as server:
        browser = Browser(chromium, server)
        page, expect = browser.page, playwright.expect
        agree(page, server)
        for done, key in enumerate(("1", "0", "7", "5")):
            expect(page.locator("#count")).to_have_text(f"{done} of 4")
            expect(page.locator("html")).to_have_attribute("data-seen", "true")
            expect(page.locator("#scale")).to_have_text("100%")
            if not done:
                is_accessible(page)
            page.keyboard.press(key)
        expect(page.locator("#notice-title")).to_have_text("Thank you")
        page.goto(server.dashboard)
        expect(page.locator("#choices tbody tr")).to_have_count(1)
        is_accessible(page)
        browser.context.close()
        assert browser.troubles == []
    out = tmp_path / "ratings.csv"
    command("export", study, str(out)).communicate(timeout=120)
    lines = out.read_text().splitlines()
    assert lines[0].startswith("image,rater,rating,")
    assert sorted(float(line.split(",")[2]) for line in lines[1:]) == [1, 5, 7, 10]
    names = {line.split(",")[0] for line in lines[1:]}
    assert names == {path.name for path in (tmp_path / "kept/patches").iterdir()}


def test_links_that_open_nothing(chromium: playwright.Browser, tmp_path: Path) -> None:
    study = make_study(tmp_path, views=1, task={"checks": {"identical": 0, "degraded": 1}})
    links = tmp_path / "links.csv"
    command("links", study, "--count", "3", "--out", str(links)).communicate(timeout=120)
    command("links", study, "--revoke", "p-0003").communicate(timeout=120)
    secrets = [row["link"].partition("#")[2] for row in csv.DictReader(links.open())]
    with serving(study) as server:
        browser = Browser(chromium, server)
        page, expect = browser.page, playwright.expect
        for secret, said in (
            ("", "This study is by invitation: open the personal link that was sent to you."),
            (
                "#guess",
                "This link does not belong to this study: copy all of it, as it was sent to you.",
            ),
            (
                f"#{secrets[2]}",
                "This link is no longer valid: ask whoever sent it to you for a new one.",
            ),
        ):
            page.goto("about:blank")
            page.goto(server.address + secret)
            expect(page.locator("#notice-text")).to_have_text(said)
            expect(page.locator("#notice-title")).to_have_text("The study cannot be opened")
            expect(page.locator("#problem")).to_have_text("")
            is_accessible(page)
        # Who comes when another has done it all is told so.
        for done, secret in enumerate(secrets[:2]):
            page.goto("about:blank")
            page.goto(f"{server.address}#{secret}")
            page.click("text=I agree and take part")
            for number in range(0 if done else 4 * 3):
                expect(page.locator("#count")).to_have_text(f"{number // 3} of 4")
                expect(page.locator("#ask .now")).to_contain_text(f"{number % 3 + 1} of 3")
                expect(page.locator("html")).to_have_attribute("data-seen", "true")
                page.keyboard.press("1")
            expect(page.locator("#notice-title")).to_have_text("Thank you")
            said = "nothing is left to show you" if done else "Thank you for taking part"
            expect(page.locator("#notice-text")).to_contain_text(said)
            assert page.locator("#go").is_visible() is not bool(done)
        browser.context.close()


def test_inspection_by_people(chromium: playwright.Browser, tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "dataset", 4)
    study = write_study(
        tmp_path,
        {
            "name": "inspection",
            "title": "Inspection",
            "folder": str(tmp_path / "kept"),
            "participants": {"open": True},
            "task": {"kind": "inspection", "dataset": str(dataset)},
        },
    )
    with serving(study) as server:
        browser = Browser(chromium, server)
        page, expect = browser.page, playwright.expect
        agree(page, server)
        captions = []
        for done in range(3):
            expect(page.locator("#count")).to_have_text(f"{done} of 3")
            expect(page.locator("html")).to_have_attribute("data-seen", "true")
            captions.append(page.input_value("#caption"))
            if done == 0:
                is_accessible(page)
                page.keyboard.press("2")
            elif done == 1:
                page.fill("#caption", "a better one: a r 1")
                page.click("#choices button >> nth=0")
            else:
                page.keyboard.press("r")
        expect(page.locator("#notice-title")).to_have_text("Thank you")
        browser.context.close()
        assert browser.troubles == []
    found = latest_decisions(dataset / "decisions.sqlite")
    by_caption = [found[f"{caption.rpartition(' ')[2]}.png"] for caption in captions]
    assert [(d.decision, d.reason, d.caption, d.who) for d in by_caption] == [
        ("rejected", "out of focus", None, "p-0001"),
        ("accepted", None, "a better one: a r 1", "p-0001"),
        ("rejected", None, None, "p-0001"),
    ]


def test_a_study_of_own_questions_without_prompts(
    chromium: playwright.Browser, tmp_path: Path
) -> None:
    own = [{"name": "wall", "title": "Wall", "text": "Which would you hang on your wall?"}]
    task = {"questions": own, "checks": {"identical": 0, "degraded": 1}}
    study = make_study(tmp_path, participants={"open": True}, task=task)
    for path in tmp_path.glob("images-*/metadata.jsonl"):
        path.unlink()
    with serving(study) as server:
        browser = Browser(chromium, server)
        page, expect = browser.page, playwright.expect
        page.goto(server.address)
        expect(page.locator("#facts")).to_contain_text("4 pairs of images, about 1 minute.")
        agree(page, server)
        for done in range(4):
            expect(page.locator("#count")).to_have_text(f"{done} of 4")
            expect(page.locator("html")).to_have_attribute("data-seen", "true")
            assert not page.locator("#text").is_visible()  # there is no prompt
            page.keyboard.press("1")
        expect(page.locator("#notice-title")).to_have_text("Thank you")
        browser.context.close()
        assert browser.troubles == []
    out = tmp_path / "answers.csv"
    command("export", study, str(out)).communicate(timeout=120)
    rows = list(csv.DictReader(out.open()))
    assert {row["prompt_id"] for row in rows if not row["check"]} == {"0", "1", "2"}
    assert {row["prompt"] for row in rows} == {""}
