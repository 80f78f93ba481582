"""Answers to "which of the two is better", of people and of judging models alike.

An answer is a row; a file of answers is CSV, JSON lines or Parquet, by its ending, with the fields
of `Answer` as its columns. Columns beyond these are allowed and not read.
"""

import csv
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Literal, get_args

from diffusion4k.errors import Diffusion4kError, UsageError, one_line
from diffusion4k.support.files import atomic_path
from diffusion4k.support.text_files import (
    as_cell,
    json_of,
    lines_of,
    read_table,
    read_text,
    shortened,
)

__all__ = [
    "COLUMNS",
    "Answer",
    "Check",
    "Choice",
    "Passed",
    "read_answers",
    "write_answers",
    "write_rows",
]

Choice = Literal["model_a", "model_b", "tie"]
Check = Literal["", "identical", "degraded"]
Passed = Literal["", "yes", "no", "neither"]


@dataclass(frozen=True)
class Answer:
    """One person's or judge's answer to one question about one pair of images.

    Raises:
        ValueError: a value that is not allowed, in one line.
    """

    study: str
    question: str
    """`visual_aesthetics`, `prompt_adherence`, `fine_details`, or the study's own."""
    prompt_id: str
    prompt: str
    participant: str
    """A pseudonym, or the name of a judging model."""
    model_a: str
    model_b: str
    """The two are sorted, `model_a < model_b`; equal where one image was shown twice."""
    first: str
    """Which of the two stood left, or was sent first."""
    choice: Choice
    pair_seconds: float | None
    """How long the pair was viewed until all its questions were answered, so the same in the
    rows of all of them; None if not known."""
    at: str
    """Time in UTC, ISO 8601."""
    check: Check = ""
    """What an attention check showed; such rows are no preferences."""
    passed: Passed = ""
    """Whether the answer to a check is one that attention gives; `neither` where it says nothing
    of attention; empty where nothing is checked, and in files of earlier versions."""
    flags: str = ""
    """Why the study leaves this participant out, in words, separated by `; `."""

    def __post_init__(self) -> None:
        for name in ("study", "question", "prompt_id", "participant", "model_a", "model_b"):
            if not getattr(self, name):
                raise ValueError(f"{name}: empty")
        if self.model_a > self.model_b:
            raise ValueError(f"model_a: found {self.model_a!r}, allowed before {self.model_b!r}")
        if self.model_a == self.model_b and self.check != "identical":
            raise ValueError(f"model_b: found {self.model_b!r} twice, allowed two models")
        for name, allowed in (
            ("first", (self.model_a, self.model_b)),
            ("choice", get_args(Choice)),
            ("check", get_args(Check)),
            ("passed", get_args(Passed)),
        ):
            if getattr(self, name) not in allowed:
                listed = ", ".join(map(repr, allowed))
                raise ValueError(f"{name}: found {getattr(self, name)!r}, allowed {listed}")
        if self.pair_seconds is not None and not 0 <= self.pair_seconds < math.inf:
            raise ValueError(f"pair_seconds: found {self.pair_seconds}, allowed from 0")
        datetime.fromisoformat(self.at.replace("Z", "+00:00"))

    @property
    def preferred(self) -> str | None:
        """Name of the model that was chosen; None of a tie."""
        return None if self.choice == "tie" else getattr(self, self.choice)


COLUMNS = tuple(field.name for field in fields(Answer))
_OPTIONAL = ("pair_seconds", "passed", "flags")
_FORMERLY = {"pair_seconds": "seconds"}
"""Columns by the names that earlier versions gave them."""
_SUFFIXES = (".csv", ".jsonl", ".parquet")


def read_answers(path: str | Path) -> list[Answer]:
    """All answers of a file, in its order.

    Raises:
        UsageError: no such file, or its ending is none of .csv, .jsonl, .parquet.
        Diffusion4kError: it cannot be read, a column is missing, or a row is not allowed.
    """
    path = Path(path)
    answers = []
    for number, row in enumerate(_read(path), start=1):
        try:
            answers.append(_answer(row))
        except (ValueError, TypeError, OverflowError) as error:
            raise Diffusion4kError(f"{path}: row {number}: {error}: correct the row") from None
    return answers


def write_answers(path: str | Path, answers: Iterable[Answer]) -> None:
    """Write answers as CSV, JSON lines or Parquet, by the ending of `path`; whole or not at all.

    Raises:
        UsageError: another ending.
    """
    write_rows(path, COLUMNS, map(asdict, answers), numbers=("pair_seconds",))


def write_rows(
    path: str | Path,
    columns: Iterable[str],
    rows: Iterable[Mapping[str, object]],
    *,
    numbers: Iterable[str] = (),
) -> None:
    """Write rows as `write_answers` does; columns are texts, but `numbers` are numbers or None."""
    path, columns = Path(path), list(columns)
    kind = _kind(path)
    with atomic_path(path) as temporary:
        if kind == ".csv":
            with temporary.open("w", encoding="utf-8", newline="") as handle:
                writer = csv.DictWriter(handle, columns)
                writer.writeheader()
                writer.writerows({name: as_cell(v) for name, v in row.items()} for row in rows)
        elif kind == ".jsonl":
            with temporary.open("w", encoding="utf-8") as handle:
                handle.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        else:
            import pyarrow as pa
            import pyarrow.parquet as parquet

            kinds = {name: pa.float64() if name in numbers else pa.string() for name in columns}
            table = pa.Table.from_pylist([dict(row) for row in rows], schema=pa.schema(kinds))
            parquet.write_table(table, temporary)


def _kind(path: Path) -> str:
    if path.suffix.lower() not in _SUFFIXES:
        raise UsageError(f"{path}: found {path.suffix!r}, allowed endings {', '.join(_SUFFIXES)}")
    return path.suffix.lower()


def _answer(row: object) -> Answer:
    if not isinstance(row, dict):
        raise ValueError(f"found {shortened(row)}, allowed an object")
    found = {name: row.get(name, row.get(_FORMERLY.get(name, name))) for name in COLUMNS}
    needed = [name for name in COLUMNS if found[name] is None and name not in _OPTIONAL]
    if needed:
        raise ValueError(f"no {', '.join(needed)}")
    seconds = found.pop("pair_seconds")
    values = {name: str(value) for name, value in found.items() if value is not None}
    return Answer(**values, pair_seconds=None if seconds in (None, "") else float(seconds))  # type: ignore[arg-type]


def _read(path: Path) -> Iterator[object]:
    kind = _kind(path)
    if not path.exists():
        raise UsageError(f"{path}: no such file: give what `study export` or `judge` wrote")
    try:
        if kind == ".csv":
            yield from read_table(path).records()
        elif kind == ".jsonl":
            yield from (json_of(line) for line in lines_of(read_text(path)) if line.strip())
        else:
            import pyarrow.parquet as parquet

            yield from parquet.read_table(path).to_pylist()
    except OSError as error:
        reason = error.strerror or one_line(error)
        raise Diffusion4kError(f"{path}: cannot be read: {reason}") from None
    except (ValueError, RecursionError) as error:  # pyarrow's errors are ValueErrors
        raise Diffusion4kError(
            f"{path}: cannot be read ({one_line(error)}): write it again"
        ) from None
