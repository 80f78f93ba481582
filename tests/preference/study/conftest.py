"""Studies whose servers run inside the tests, and a browser."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.preference.study.fake import Running, make_study

BROWSER = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
OPTIONS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)
OPEN = {"participants": {"open": True}}


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Studies that are ended with the test."""
    running: list[Running] = []

    def begin(**settings: Any) -> Running:
        running.append(Running(make_study(tmp_path, **(OPEN | settings))))
        return running[-1]

    yield begin
    for each in running:
        each.close()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="no playwright: `pip install playwright`"
    )
    if not BROWSER:
        pytest.skip("no Chromium: `apt-get install chromium`, or name it in CHROMIUM")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=BROWSER, args=list(OPTIONS))
        yield browser
        browser.close()
