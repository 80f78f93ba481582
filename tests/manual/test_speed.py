"""The tables of docs/speed.md are those that its benchmark makes of the published results."""

import json
import re
from pathlib import Path
from types import ModuleType

import pytest

from tests.manual.pages import DOCS, ROOT


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import sampling_speed

    return sampling_speed


def test_the_tables_are_those_of_the_results(benchmark: ModuleType) -> None:
    published = json.loads((ROOT / "benchmarks/results/sampling_speed.json").read_text())
    page = (DOCS / "speed.md").read_text()
    shown = dict(re.findall(r"<!-- (\w+) -->\n(.*?)\n<!-- end -->", page, re.DOTALL))
    assert shown == benchmark.tables(published["result"])


def test_runs_are_merged_by_prompt(benchmark: ModuleType, tmp_path: Path) -> None:
    """Gains are medians over the prompts of all runs, differences paired by prompt."""
    rows = [
        {"options": {}, "steps": [4.0], "image": [5.0], "psnr": [99.0], "detail": [1.0]},
        {"options": {"a": 1}, "steps": [2.0], "image": [4.0], "psnr": [30.0], "detail": [1.5]},
    ]
    more = [
        {"options": {}, "steps": [6.0], "image": [7.0], "psnr": [99.0], "detail": [2.0]},
        {"options": {"a": 1}, "steps": [2.0], "image": [3.5], "psnr": [40.0], "detail": [1.5]},
    ]
    paths = []
    for number, found in enumerate((rows, more)):
        path = tmp_path / f"{number}.json"
        path.write_text(json.dumps({"machine": {}, "result": {"caches": found}}))
        paths.append(path)
    _, way = benchmark.merged(paths)["caches"]
    assert way["steps_gain"] == 2.5 and way["image_gain"] == pytest.approx((1.25 + 2) / 2)
    assert way["psnr_mean"] == 35 and way["detail_difference"]["value"] == 0
