"""Metrics of one's own: in `evaluate`, in a benchmark, and beside people's ratings."""

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from diffusion4k.benchmark.ratings_agreement import measures_of_one_image
from diffusion4k.benchmark.recipe import checked_recipe
from diffusion4k.benchmark.run import run_benchmark
from diffusion4k.cli.main import app
from diffusion4k.errors import UsageError
from diffusion4k.metrics.networks import Networks
from diffusion4k.metrics.own import own_measures
from diffusion4k.metrics.settings import MeasureSettings

MODULE = '''
import numpy as np


def redness(pixels):
    assert pixels.dtype == np.uint8 and pixels.shape[2] == 3
    return pixels[..., 0].mean() / 255


redness.better = "lower"
redness.heading = "Redness (mean)"


class Spread:
    """Made once."""

    digits = 1

    def __call__(self, pixels):
        return np.std(pixels)


def glcm_score(pixels):
    return 1.0


def fails(pixels):
    raise RuntimeError("no model\\nhere")


def nothing(pixels):
    return float("nan")


def two(first, second):
    return 0.0


def sideways(pixels):
    return 0.0


sideways.better = "sideways"
'''


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_metrics.py").write_text(MODULE)
    for name, seed in (("images", 0), ("photographs", 1)):
        (tmp_path / name).mkdir()
        rng = np.random.default_rng(seed)
        for n in range(3):
            pixels = rng.integers(0, 256, (256, 256, 3), np.uint8)
            pixels[..., 0] = 51 * (n + 1)
            Image.fromarray(pixels).save(tmp_path / name / f"{n}.png")
    importlib.invalidate_caches()
    yield tmp_path
    sys.modules.pop("my_metrics", None)


def test_evaluate(place: Path) -> None:
    words = ("images", "--metric", "my_metrics:redness", "--metric", "my_metrics:Spread")
    result = CliRunner().invoke(
        app, ["evaluate", *words, "--out", "results.json"], catch_exceptions=False
    )
    assert result.exit_code == 0
    assert "Redness (mean)" in result.output and "lower" in result.output
    found = json.loads((place / "results.json").read_text())
    assert [found["evaluated"]["images"][f"{n}.png"]["redness"] for n in range(3)] == [
        pytest.approx((n + 1) / 5) for n in range(3)
    ]
    assert found["evaluated"]["redness"] == pytest.approx(0.4)
    assert found["protocols"]["redness"].startswith("my_metrics:redness, file ")


def test_benchmark(place: Path) -> None:
    recipe = checked_recipe(
        {
            "output": place / "out",
            "models": [{"name": "ours", "images": "images"}],
            "metrics": ["my_metrics:redness"],
            "resamples": 50,
        }
    )
    results = run_benchmark(recipe)
    assert results is not None
    assert results.rows[0].cells["redness"].value == pytest.approx(0.4)
    assert "redness" in [column.name for column in results.main_columns()]
    assert "Redness (mean)" in (place / "out/report.html").read_text()


def test_beside_ratings(place: Path) -> None:
    own = own_measures(["my_metrics:redness"], "--metric")
    measures, _ = measures_of_one_image(MeasureSettings(), Networks(pyiqa=()), own=own)
    assert measures[-1] is own[0]


def test_a_measure_that_knows_more_is_taken_as_it_is(place: Path) -> None:
    (place / "my_metrics.py").write_text('''
from diffusion4k.metrics.measure import Found, Mean


class Words:
    """Of the prompt."""

    name, protocol = "words", "blanks"
    columns = (Mean("words", "Words", "", 0),)
    needs_prompt, needs_original = True, False

    def __call__(self, picture):
        return Found({"words": len(picture.prompt.split())})
''')
    [measure] = own_measures(["my_metrics:Words"], "metrics")
    assert measure.needs_prompt and measure.columns[0].heading == "Words"


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("my_metrics:absent", "my_metrics:absent: cannot be loaded"),
        ("no_metrics:any", r"put no_metrics\.py into this folder"),
        ("redness", "found redness, allowed module:name"),
        ("my_metrics:glcm_score", "there is a metric glcm_score already: rename it"),
        ("my_metrics:fails", "fails: RuntimeError: no model here .tried on pixels 96x128x3"),
        ("my_metrics:nothing", "gives nan, allowed a finite number"),
        ("my_metrics:two", "fails: TypeError"),
        ("my_metrics:sideways", "better is 'sideways', allowed 'higher', 'lower' or ''"),
    ],
)
def test_what_cannot_be_meant_is_one_line(place: Path, code: str, told: str) -> None:
    with pytest.raises(UsageError, match=told) as refused:
        own_measures([code], "--metric")
    assert str(refused.value).startswith("--metric: ") and "\n" not in str(refused.value)
    with pytest.raises(UsageError, match="there is a metric redness already"):
        own_measures(["my_metrics:redness"] * 2, "--metric")
