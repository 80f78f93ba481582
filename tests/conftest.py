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

from benchmarks.tiny import tiny_sd3

# How long an example takes is the machine's affair.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


TESTS = Path(__file__).parent
LENGTHY = (
    # Whole roads: demo, ablations, studies, the manual's commands, the contract of each family.
    *("ablation/test_run.py", "demo/test_run.py", "e2e", "manual/test_extend_family.py"),
    *(f"manual/test_extend_{what}.py" for what in ("curation_step", "metric", "objective")),
    *(f"families/test_{name}.py" for name in ("flux", "pixart", "sana", "sd3", "sd35", "z_image")),
    *("models/test_high_resolution.py", "families/test_registry.py"),
    # Trainings.
    *("training/autoencoder/test_loop.py", "training/autoencoder/test_interruption.py"),
    *(
        f"training/test_{name}.py"
        for name in (
            *("buckets", "check", "device_bench", "devices", "disasters"),
            *("engines", "inputs", "interruption", "launch", "loop", "lora", "options"),
            *("paper_recipes", "pictures", "stage"),
            *("uncached", "watching"),
        )
    ),
    *("training/engine/test_context_parallel.py", "training/engine/test_zero.py"),
    *("training/checkpoint/test_sharded.py", "training/watch/test_run_report.py"),
    # Images, and what a plan says of them.
    *(
        f"sampling/test_{name}.py"
        for name in ("batch", "image_to_image", "lora", "memory", "sampler", "shift", "staged")
    ),
    *(
        "planning",
        "accounting/test_stages.py",
        "accounting/test_blueprint.py",
        "vae/test_partitioned.py",
        "vae/test_scale_consistent.py",
    ),
    *("vae/test_stock_pipelines.py", "vae/test_lean.py"),
    # Datasets and benchmarks, built whole.
    *(
        f"curation/test_{name}.py"
        for name in (
            *("build", "command", "disasters", "fetch", "hooks", "people_and_models", "parquet"),
            *("ray", "scores", "tars"),
        )
    ),
    *("curation/captions", "curation/verify", "curation/stats/test_stats.py"),
    *("benchmark/test_run.py", "benchmark/test_entries.py", "benchmark/test_processes.py"),
    # Commands, servers and browsers.
    *("curation/inspection", "compare/test_browser.py", "endpoint/test_client.py"),
    *("preference/judge", "preference/study", "preference/analysis/test_report.py"),
    *(
        f"cli/test_{name}.py"
        for name in (
            *("ablate", "benchmark", "generate", "hints", "main", "merge_lora", "plan", "train"),
            *("vae", "vae_eval"),
        )
    ),
    "support/test_bundled.py",
)
"""Files and folders of tests that `make test-fast` leaves out: what trains, samples or builds
something whole, and what starts processes, servers or browsers."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is lengthy."""
    lengthy = [TESTS / name for name in LENGTHY]
    for item in items:
        if any(item.path == path or path in item.path.parents for path in lengthy):
            item.add_marker("lengthy")


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
