"""Files of answers: every kind gives back what was written, and says what is wrong in a line."""

import csv
import json
import string
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.preference.answers import COLUMNS, Answer, read_answers, write_answers

ANSWER = Answer(
    study="pocket",
    question="fine_details",
    prompt_id="3",
    prompt='A "lake", at dawn\nand dusk',
    participant="p-07",
    model_a="sana",
    model_b="wlf",
    first="wlf",
    choice="model_b",
    pair_seconds=2.5,
    at="2026-01-01T00:00:00.000+00:00",
)
KINDS = ("csv", "jsonl", "parquet")
texts = st.text(
    st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"), min_size=1, max_size=20
)
answers = st.builds(
    lambda question, prompt, pair, left, choice, seconds: Answer(
        "study",
        question,
        "1",
        prompt,
        "p",
        *sorted(pair),
        sorted(pair)[left],
        choice,
        seconds,
        "2026-01-01T00:00:00Z",
    ),
    question=texts,
    prompt=texts,
    pair=st.sets(st.text(string.ascii_letters, min_size=1), min_size=2, max_size=2),
    left=st.sampled_from((0, 1)),
    choice=st.sampled_from(("model_a", "model_b", "tie")),
    seconds=st.none() | st.floats(0, 1e6),
)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(answers, max_size=4))
def test_what_is_written_is_read(tmp_path: Path, kind: str, rows: list[Answer]) -> None:
    path = tmp_path / f"answers.{kind}"
    write_answers(path, rows)
    assert read_answers(path) == rows


def test_other_programs_read_the_same(tmp_path: Path) -> None:
    rows = [ANSWER, replace(ANSWER, pair_seconds=None, choice="tie")]
    frames = []
    for kind, read in (
        ("csv", pd.read_csv),
        ("parquet", pd.read_parquet),
        ("jsonl", lambda path: pd.read_json(path, lines=True)),
    ):
        write_answers(tmp_path / f"a.{kind}", rows)
        frames.append(read(tmp_path / f"a.{kind}"))
    for frame in frames:
        assert tuple(frame.columns) == COLUMNS
        assert list(frame.prompt) == [ANSWER.prompt] * 2
        assert frame.pair_seconds[0] == 2.5
        assert frame.pair_seconds.isna()[1]


def test_the_model_that_was_preferred() -> None:
    assert ANSWER.preferred == "wlf"
    assert replace(ANSWER, choice="model_a").preferred == "sana"
    assert replace(ANSWER, choice="tie").preferred is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"choice": "both"}, "choice: found 'both', allowed 'model_a', 'model_b', 'tie'"),
        ({"first": "flux"}, "first: found 'flux', allowed 'sana', 'wlf'"),
        ({"model_a": "z"}, "model_a: found 'z', allowed before 'wlf'"),
        ({"model_a": "wlf"}, "model_b: found 'wlf' twice"),
        ({"pair_seconds": "-1"}, "pair_seconds: found -1.0, allowed from 0"),
        ({"pair_seconds": "soon"}, "could not convert"),
        ({"at": "yesterday"}, "Invalid isoformat"),
        ({"participant": ""}, "participant: empty"),
        ({"question": None}, "no question"),
        ({"check": "maybe"}, "check: found 'maybe'"),
        ({"passed": "maybe"}, "passed: found 'maybe', allowed '', 'yes', 'no', 'neither'"),
    ],
)
def test_rows_that_are_refused(tmp_path: Path, change: dict[str, object], said: str) -> None:
    path = tmp_path / "answers.jsonl"
    row = {name: getattr(ANSWER, name) for name in COLUMNS}
    path.write_text(json.dumps(row) + "\n" + json.dumps(row | change) + "\n")
    with pytest.raises(Diffusion4kError) as error:
        read_answers(path)
    assert str(error.value).startswith(f"{path}: row 2: ")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_columns_beyond_ours_are_left_and_missing_ones_named(tmp_path: Path) -> None:
    path = tmp_path / "answers.csv"
    row = {name: getattr(ANSWER, name) for name in COLUMNS}
    for extra, left_out in (({"mood": "good"}, ""), ({}, "first")):
        kept = {name: value for name, value in (row | extra).items() if name != left_out}
        with path.open("w", newline="") as handle:
            writer = csv.DictWriter(handle, kept)
            writer.writeheader()
            writer.writerow(kept)
        if left_out:
            with pytest.raises(Diffusion4kError, match=r"row 1: no first: correct the row"):
                read_answers(path)
        else:
            assert read_answers(path) == [ANSWER]


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"found '.txt', allowed endings"):
        write_answers(tmp_path / "answers.txt", [ANSWER])
    for kind in KINDS:
        path = tmp_path / f"absent.{kind}"
        with pytest.raises(UsageError, match="no such file: give what"):
            read_answers(path)
        path.write_bytes(b"\xff\xfe{")
        with pytest.raises(Diffusion4kError, match=r"cannot be read|not UTF-8"):
            read_answers(path)
    assert not (tmp_path / "answers.txt").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_files_of_earlier_versions_are_read(tmp_path: Path, kind: str) -> None:
    """Their time to answer was called `seconds`, and they said nothing of attention."""
    row = {name: getattr(ANSWER, name) for name in COLUMNS if name not in ("passed", "flags")}
    row["seconds"] = row.pop("pair_seconds")
    frame, path = pd.DataFrame([row]), tmp_path / f"answers.{kind}"
    if kind == "csv":
        frame.to_csv(path, index=False)
    elif kind == "jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_parquet(path)
    assert read_answers(path) == [ANSWER]
