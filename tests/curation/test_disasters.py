"""Builds that are killed or find the disk full end, run again, as if nothing had happened."""

import random
import signal
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from diffusion4k.curation.build import build_dataset
from diffusion4k.curation.recipe import DatasetRecipe
from tests.curation.conftest import Built, recipe, save
from tests.curation.process import start


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty photographs, some of them bad."""
    folder = tmp_path_factory.mktemp("many")
    for seed in range(40):
        save(folder / f"{seed % 4}/{seed}.jpg", seed % 36, *((96, 64) if seed % 7 else (40, 30)))
    (folder / "broken.jpg").write_bytes(b"broken")
    return folder


def wanted(output: Path, folder: Path) -> DatasetRecipe:
    return recipe(output, folder, split={"count": 5}, publish={"format": "png"})


def result(output: Path) -> tuple[list[dict[str, object]], dict[str, bytes]]:
    return Built(output, None).rows, Built(output, None).files()  # type: ignore[arg-type]


@pytest.mark.parametrize("kills", [3, pytest.param(60, marks=pytest.mark.slow)])
def test_killed_anywhere_and_run_again(tmp_path: Path, many: Path, kills: int) -> None:
    build_dataset(wanted(tmp_path / "whole", many))
    killed, chance = wanted(tmp_path / "killed", many), random.Random(kills)
    for _ in range(kills):
        process = start(killed, SLOW="0.02")
        _wait_for_work(killed.output, process)
        time.sleep(chance.uniform(0, 0.4))
        process.kill()
        process.communicate()
        _nothing_half_written(killed.output)
    build_dataset(killed)
    assert result(killed.output) == result(tmp_path / "whole")


def _wait_for_work(output: Path, process) -> None:
    """Until one more part of results is written than there were, or the build is done."""
    before = len(list((output / "work").glob("*-*/*.parquet")))
    until = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < until:
        if len(list((output / "work").glob("*-*/*.parquet"))) > before:
            return
        time.sleep(0.005)


def _nothing_half_written(output: Path) -> None:
    for path in output.rglob("[!.]*"):
        if path.suffix == ".parquet" and "entries" not in path.parts:
            pq.read_metadata(path)
        if path.suffix == ".png":
            assert path.read_bytes().endswith(b"IEND\xaeB`\x82")
    for split in ("train", "eval"):
        metadata = output / split / "metadata.jsonl"
        if metadata.exists():
            assert metadata.read_text().endswith("\n")


@pytest.mark.parametrize("largest", [300, 4_000, 9_000])
def test_a_full_disk_is_one_line_and_the_build_goes_on(
    tmp_path: Path, many: Path, largest: int
) -> None:
    build_dataset(wanted(tmp_path / "whole", many))
    full = wanted(tmp_path / "full", many)
    process = start(full, LARGEST_FILE=str(largest))
    said, _ = process.communicate()
    assert process.returncode == 1, said
    (line,) = said.splitlines()
    assert line.startswith("error: ") and str(full.output) in line and "File too large" in line
    _nothing_half_written(full.output)
    assert not list(full.output.rglob(".*.part*"))
    build_dataset(full)
    assert result(full.output) == result(tmp_path / "whole")


def test_two_builds_do_not_share_an_output(tmp_path: Path, many: Path) -> None:
    one = start(wanted(tmp_path / "out", many), SLOW="0.5")
    _wait_for_work(tmp_path / "out", one)
    other = start(wanted(tmp_path / "out", many))
    said, _ = other.communicate()
    assert other.returncode == 1 and "another run is using it" in said
    one.kill()
    one.communicate()


def test_interrupted_by_hand(tmp_path: Path, many: Path) -> None:

    process = start(wanted(tmp_path / "out", many), SLOW="0.1")
    _wait_for_work(tmp_path / "out", process)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "error: interrupted" in said.splitlines()[-1] and "Traceback" not in said
