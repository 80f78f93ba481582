"""Curves that a run writes down as it goes, as CSV files."""

import csv
import io
import os
from collections import deque
from collections.abc import Mapping
from pathlib import Path

from diffusion4k.support.files import write_text

__all__ = ["Curve", "RecentMean"]

_RECENT = 50
_LONGEST = 10_000  # characters of a row


class RecentMean:
    """The mean of the last 50 values: one step's loss says mostly how noisy its pictures were."""

    def __init__(self) -> None:
        self._values: deque[float] = deque(maxlen=_RECENT)

    def add(self, value: float) -> str:
        """The value and the mean with it, as a line of progress shows them."""
        self._values.append(value)
        mean = sum(self._values) / len(self._values)
        return f"loss {value:.4f}, mean of {len(self._values)}: {mean:.4f}"


class Curve:
    """A CSV file with one row a step, first column `step`; each row is on disk at once.

    Only numbers that the recipe determines belong here, so that an interrupted and resumed run
    leaves the very file that an uninterrupted one leaves.
    """

    def __init__(self, path: Path, columns: tuple[str, ...], *, resume_after: int = -1) -> None:
        """Rows after the step `resume_after` are dropped: the run computes them again."""
        header = ("step", *columns)
        kept = [
            row
            for row in self.read(path)
            if row.keys() >= set(header) and int(row["step"]) <= resume_after
        ]
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(
            [header, *([row[name] for name in header] for row in kept)]
        )
        write_text(path, text.getvalue())
        self._file = path.open("a", encoding="utf-8")

    def add(self, step: int, *values: float) -> None:
        """Append a row; floats keep all their digits."""
        self._file.write(",".join(map(repr, (step, *values))) + "\n")
        self._file.flush()

    def sync(self) -> None:
        """Force the rows to the disk; a checkpoint must not be newer than the curve it ends."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @staticmethod
    def read(path: Path) -> list[dict[str, str]]:
        """Rows of a curve; none if there is no file.

        A row that is cut off by a crash, or damaged otherwise, is left out.
        """
        if not path.exists():
            return []
        lines = path.read_bytes().decode(errors="replace").splitlines(keepends=True)
        whole = [
            line
            for line in lines
            if line.endswith("\n") and len(line) <= _LONGEST and "\0" not in line
        ]
        return [row for row in csv.DictReader(whole) if _is_whole(row)]


def _is_whole(row: Mapping[str, str]) -> bool:
    try:
        return (
            None not in (*row, *row.values())
            and int(row["step"]) >= 0
            and all(map(_is_number, row.values()))
        )
    except (KeyError, TypeError, ValueError):
        return False


def _is_number(text: str) -> bool:
    return not text or isinstance(float(text), float)
