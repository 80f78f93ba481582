"""`docs/extend-metric.md`: its class is a metric of `evaluate`, with the values it says.

As one's own, and in a file of the package, where nothing else names it.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import diffusion4k.metrics
from diffusion4k.cli.main import main
from diffusion4k.metrics.registry import known_columns, measure_kinds
from tests.manual.pages import run_command, write_modules

PAGE = "extend-metric.md"


def save(path: Path, left: tuple[int, int, int], right: tuple[int, int, int]) -> None:
    pixels = np.empty((256, 256, 3), np.uint8)
    pixels[:, :128], pixels[:, 128:] = left, right
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def folders(place: Path) -> Path:
    """Images and photographs of two colours each."""
    save(place / "images" / "0.png", (255, 255, 254), (10, 10, 10))  # one half is blown out
    save(place / "images" / "1.png", (20, 20, 20), (20, 20, 253))
    save(place / "photographs" / "0.png", (0, 30, 0), (0, 50, 0))
    save(place / "photographs" / "1.png", (0, 20, 0), (0, 60, 0))
    return place


@pytest.fixture
def packaged(folders: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The page's file among those of the package."""
    (folders / "metrics").mkdir()
    write_modules(PAGE, folders / "metrics")
    paths = [*diffusion4k.metrics.__path__, str(folders / "metrics")]
    monkeypatch.setattr(diffusion4k.metrics, "__path__", paths)
    measure_kinds.cache_clear()
    yield folders
    measure_kinds.cache_clear()
    sys.modules.pop("diffusion4k.metrics.my_colours", None)
    vars(diffusion4k.metrics).pop("my_colours", None)


def test_the_page_s_class_is_a_metric(folders: Path) -> None:
    write_modules(PAGE, folders)
    run_command(PAGE)
    check(folders / "results.json")


def test_in_the_package_it_is_one_of_all(packaged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [column.name for column in known_columns()]
    assert names[-2:] == ["blown_out", "colour_distance"]
    words = "evaluate images --reference photographs --all --patches-per-image 1 --out all.json"
    monkeypatch.setattr(sys, "argv", ["diffusion4k", *words.split()])
    with pytest.raises(SystemExit) as leaving:
        main()
    assert leaving.value.code in (0, None)
    check(packaged / "all.json")


def check(path: Path) -> None:
    results = json.loads(path.read_text())
    assert results["evaluated"]["blown_out"] == pytest.approx(0.25)
    # Means of the two folders: ((132.5 + 20) / 2, the same, (132 + 136.5) / 2) and (0, 40, 0).
    expected = np.linalg.norm([76.25 - 0, 76.25 - 40, 134.25 - 0])
    found = results["distances"]["Colour distance"]["value"]
    assert found == pytest.approx(expected, rel=1e-5)
    assert "blown out: 254" in results["protocols"]["colours"]
