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
    *(
        f"families/test_{name}.py"
        for name in ("flux", "flux2", "pixart", "sana", "sd3", "sd35", "z_image")
    ),
    *("families/test_qwen_image.py", "families/test_ernie_image.py"),
    *("models/test_high_resolution.py", "families/test_registry.py", "families/test_file_model.py"),
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
    *("support/test_bundled.py", "interchange/test_convert.py"),
)
"""Files and folders of tests that `make test-fast` leaves out: what trains, samples or builds
something whole, and what starts processes, servers or browsers."""

PROOFS = (
    # Runs of several processes: the simplest of each engine stays.
    "training/engine/test_zero.py::test_the_run_of_one_process",
    "training/engine/test_zero.py::test_engines_take_over_from_one_another",
    "training/test_engines.py::test_another_number_of_processes_goes_on",
    "training/checkpoint/test_sharded.py::test_everything_comes_back_to_the_bit",
    "benchmark/test_processes.py::test_two_processes",
    "training/engine/test_zero.py::test_it_goes_on_to_the_bit",
    "training/engine/test_context_parallel.py::test_the_same_run_as_one_process[ddp-2]",
    "training/engine/test_context_parallel.py::test_the_same_run_as_one_process[deepspeed-2]",
    "training/test_watching.py::test_images_beside_training_are_the_same",
    "training/test_options.py::test_other_optimizers_in_several_processes",
    # Disasters: one of each kind stays.
    "training/test_disasters.py",
    "curation/test_disasters.py::test_two_builds_do_not_share_an_output",
    "curation/test_disasters.py::test_a_full_disk_is_one_line_and_the_build_goes_on[4000]",
    "curation/test_disasters.py::test_a_full_disk_is_one_line_and_the_build_goes_on[300]",
    "curation/captions/test_kill.py::test_killed_at_random_and_started_again",
    "curation/captions/test_run.py::test_none_lost_and_none_paid_twice[60-True]",
    "preference/judge/test_run.py::test_none_lost_and_none_paid_twice[True]",
    "training/autoencoder/test_interruption.py::test_killed_at_random_and_started_again",
    # Pages: the whole road and the phones stay.
    "preference/study/test_browser.py::test_an_answer_waits_for_a_server_that_is_gone",
    "preference/study/test_browser.py::test_a_page_under_another_link_answers_for_nobody",
    "preference/study/test_browser.py::test_everything_fits_and_axe_finds_nothing_serious[tablet]",
    "preference/study/test_browser_kinds.py::test_links_that_open_nothing",
    "preference/study/test_browser_kinds.py::test_inspection_by_people",
    "curation/inspection/test_browser.py::test_filter_order_skip_and_the_end_of_the_list",
    "curation/inspection/test_browser.py::test_keys_of_one_letter_can_be_turned_off",
    "curation/inspection/test_browser.py::test_everything_fits_and_has_a_name[size1]",
    "compare/test_browser.py::test_at_100_percent_every_picture_shows_its_own_pixels",
    # Roads through several verbs.
    "e2e/test_study_roads.py",
    # Plans of a model that another plan has, too.
    "planning/test_cluster_page.py::test_planned_memory[recipes/paper/sd3-2b-wlf.yaml 2]",
    "planning/test_cluster_page.py::test_planned_memory[recipes/sd3-2b-wlf.yaml 2]",
    "planning/test_plan.py::test_the_paper_s_runs_on_one_to_eight_of_eight_gpus[sd3-2b-wlf-1]",
    "planning/test_plan.py::test_the_paper_s_runs_on_one_to_eight_of_eight_gpus[flux-12b-wlf-1]",
    # A second model of a family that another model has shown.
    "families/test_flux.py::TestSchnell::test_a_run_is_cached_resumed_and_reloaded",
    "families/test_flux.py::TestSchnell::test_adapters_are_trained_loaded_and_merged",
    "families/test_flux2.py::TestDev::test_a_run_is_cached_resumed_and_reloaded",
    "families/test_flux2.py::TestDev::test_adapters_are_trained_loaded_and_merged",
    "families/test_z_image.py::TestZImage::test_adapters_are_trained_loaded_and_merged",
    "families/test_ernie_image.py::TestErnieImage::test_adapters_are_trained_loaded_and_merged",
    "families/test_pixart.py::TestSigma::test_adapters_are_trained_loaded_and_merged",
    # Servers: one of each warning stays.
    "preference/study/test_commands.py::test_what_is_said_of_who_reaches_it[options2",
    "preference/study/test_commands.py::test_what_is_said_of_who_reaches_it[options4",
)
"""Tests by name that are long proofs (`slow`): something shorter shows the same every day."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is lengthy, and what is a long proof."""
    lengthy = [TESTS / name for name in LENGTHY]
    for item in items:
        if any(item.path == path or path in item.path.parents for path in lengthy):
            item.add_marker("lengthy")
        if item.nodeid.removeprefix("tests/").startswith(PROOFS):
            item.add_marker("slow")


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
