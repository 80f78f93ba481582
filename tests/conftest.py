"""Fixtures shared by the tests: no network, one thread, a tiny model."""

import os
import shutil
from collections.abc import Iterator
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

from pathlib import Path

import pytest
from hypothesis import settings

from tests.tiny import tiny_sd3

# How long an example takes is the machine's affair.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the tiny pipeline; shared by the whole session, do not write into it."""
    return tiny_sd3(tmp_path_factory.mktemp("tiny") / "model")


BROWSER = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
OPTIONS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A browser; gone with its module, as asyncio cannot run in a thread that drives one."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="no playwright: `pip install playwright`"
    )
    if not BROWSER:
        pytest.skip("no Chromium: `apt-get install chromium`, or name it in CHROMIUM")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=BROWSER, args=list(OPTIONS))
        yield browser
        browser.close()
