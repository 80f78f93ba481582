"""Scores of one's own: a function in a module of one's own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from diffusion4k.errors import Diffusion4kError, UsageError
from tests.curation.conftest import Build

MODULE = """
import numpy as np
calls = []

def red(image):
    assert image.dtype == np.uint8 and image.shape[2] == 3
    calls.append(1)
    return image[..., 0].mean() {change}

def breaks(image):
    raise ValueError("no model\\nhere")

def nothing(image):
    return float("nan")

number = 7
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    path = tmp_path / "own_scores.py"
    path.write_text(MODULE.format(change=""))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield path
    import sys

    sys.modules.pop("own_scores", None)


def test_a_score_is_measured_once_and_judged(photos: Path, build: Build, module: Path) -> None:
    red = {"name": "red", "function": "own_scores:red"}
    scores = {row["name"]: row["red"] for row in build(photos, hooks=[red]).rows}
    limit = sorted(scores.values())[1]
    built = build(photos, hooks=[red | {"max": limit - 1e-9}])
    assert {row["name"] for row in built.rows if not row["kept"]} == {
        name for name, score in scores.items() if score >= limit
    }
    (reason,) = {row["reason"].split(":")[0] for row in built.rows if not row["kept"]}
    assert reason == "red" and {row["step"] for row in built.rows} == {None, "red"}
    build(photos, hooks=[red | {"min": limit}])
    import own_scores

    assert len(own_scores.calls) == 4


def test_another_module_measures_anew(
    photos: Path, build: Build, module: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    red = {"name": "red", "function": "own_scores:red"}
    before = {row["name"]: row["red"] for row in build(photos, hooks=[red]).rows}
    import sys

    module.write_text(MODULE.format(change="+ 1000"))
    sys.modules.pop("own_scores")
    after = {row["name"]: row["red"] for row in build(photos, hooks=[red]).rows}
    assert after == {name: score + 1000 for name, score in before.items()}


def test_what_goes_wrong_is_one_line(photos: Path, build: Build, module: Path) -> None:
    for function, reason in (
        ("no_such_module:red", "No module named"),
        ("own_scores:blue", "cannot be loaded"),
        ("own_scores:number", "found int, allowed a class or function"),
    ):
        with pytest.raises(UsageError, match=reason):
            build(photos, hooks=[{"name": "red", "function": function}])
    with pytest.raises(Diffusion4kError, match=r"hook bad: own_scores:breaks failed on .*no model"):
        build(photos, hooks=[{"name": "bad", "function": "own_scores:breaks"}])
    with pytest.raises(Diffusion4kError, match="no picture of 4 was kept"):
        build(photos, hooks=[{"name": "nan", "function": "own_scores:nothing"}])
