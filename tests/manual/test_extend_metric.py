"""`docs/extend-metric.md`: its class is a metric of `evaluate`, with the values it says."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.manual.pages import run_command, write_modules

PAGE = "extend-metric.md"


def save(path: Path, left: tuple[int, int, int], right: tuple[int, int, int]) -> None:
    pixels = np.empty((256, 256, 3), np.uint8)
    pixels[:, :128], pixels[:, 128:] = left, right
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(path)


def test_the_page_s_class_is_a_metric(place: Path) -> None:
    write_modules(PAGE, place)
    save(place / "images" / "0.png", (255, 255, 254), (10, 10, 10))  # one half is blown out
    save(place / "images" / "1.png", (20, 20, 20), (20, 20, 253))
    save(place / "photographs" / "0.png", (0, 30, 0), (0, 50, 0))
    save(place / "photographs" / "1.png", (0, 20, 0), (0, 60, 0))
    run_command(PAGE)
    results = json.loads((place / "results.json").read_text())
    assert results["evaluated"]["blown_out"] == pytest.approx(0.25)
    # Means of the two folders: ((132.5 + 20) / 2, the same, (132 + 136.5) / 2) and (0, 40, 0).
    expected = np.linalg.norm([76.25 - 0, 76.25 - 40, 134.25 - 0])
    found = results["distances"]["Colour distance"]["value"]
    assert found == pytest.approx(expected, rel=1e-5)
    assert "blown out: 254" in results["protocols"]["colours"]
