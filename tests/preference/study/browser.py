"""A real browser for tests of pages."""

import pytest

from tests.preference.study.server import Server

playwright = pytest.importorskip(
    "playwright.sync_api", reason="no playwright: `pip install playwright`"
)


# How long a page takes is the machine's affair.
playwright.expect.set_options(timeout=60_000)


class Browser:
    """A window; whatever its console complains of, or asks others for, fails."""

    def __init__(self, chromium: playwright.Browser, server: Server) -> None:
        self.context = chromium.new_context(viewport={"width": 1440, "height": 900})
        self.page = self.context.new_page()
        self.troubles: list[str] = []
        self.page.on("pageerror", lambda error: self.troubles.append(str(error)))
        self.page.on("console", lambda m: self.troubles.append(m.text) if m.type != "log" else None)
        self.page.on(
            "request",
            lambda r: None if r.url.startswith(server.address) else self.troubles.append(r.url),
        )


def agree(page: playwright.Page, server: Server) -> str:
    """Take part; the personal link."""
    page.goto(server.address)
    page.click("text=I agree and take part")
    playwright.expect(page.locator("#link")).to_be_visible()
    link = page.input_value("#link")
    page.click("#go")
    return link


def is_accessible(page: playwright.Page) -> None:
    """No violation that axe-core calls serious or critical."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    # The page's policy lets no script in; axe comes by another door.
    found = run_axe(axe, page)
    serious = [v for v in found["violations"] if v["impact"] in ("serious", "critical")]
    assert serious == [], "\n".join(f"{v['id']}: {v['nodes']}" for v in serious)


def run_axe(axe: object, page: playwright.Page) -> dict:
    return axe.Axe().run(page).response  # type: ignore[attr-defined]
