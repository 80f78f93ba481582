"""The manual as a whole: every page can be found, links lead somewhere, the picture is true."""

import re
from pathlib import Path
from types import ModuleType

import pytest

from tests.manual.pages import DOCS, ROOT

PAGES = [*sorted(DOCS.glob("*.md")), *sorted(ROOT.glob("*.md"))]
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.MULTILINE | re.DOTALL)


def links(page: Path) -> list[str]:
    """Its links within the repository."""
    found = LINK.findall(CODE.sub("", page.read_text()))
    return [link for link in found if not re.match(r"[a-z]+:", link)]


def anchors(page: Path) -> set[str]:
    """The headings' names, as they are linked to."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    plain = (re.sub(r"\[(.*?)\]\(.*?\)|[`*]", r"\1", heading).lower() for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading).strip().replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), f"{page.name}: {link}"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{page.name}: {link}"


def test_the_index_has_every_page() -> None:
    listed = {name.partition("#")[0] for name in links(DOCS / "index.md")}
    assert {page.name for page in DOCS.glob("*.md")} - listed == {"index.md"}


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The program that draws the architecture."""
    pytest.importorskip("tomllib", reason="Python 3.11 draws the picture")
    monkeypatch.syspath_prepend(str(DOCS))
    import draw_architecture

    return draw_architecture


def test_the_picture_is_that_of_the_contract(drawn: ModuleType) -> None:
    assert drawn.drawing() == (DOCS / "architecture.svg").read_text()


def test_every_package_in_the_picture_exists(drawn: ModuleType) -> None:
    package = ROOT / "src" / "diffusion4k"
    there = {path.stem for path in package.glob("*.py")} | {
        p.parent.name for p in package.glob("*/*.py")
    }
    named = {name for layer in drawn.layers() for name in layer}
    assert named == there - {"__init__", "diffusion4k"}
    assert drawn.COLOURS.keys() <= named
