"""`dropped.csv`: each candidate that a build left out, by which step, and for which value."""

import csv
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from diffusion4k.curation.engine import Row
from diffusion4k.curation.files import DROPPED
from diffusion4k.support.files import atomic_path, writing
from diffusion4k.support.text_files import as_cell

__all__ = ["dropped_table"]

_HEAD = ("source", "step", "what", "value", "threshold", "reason")
# `noise 7.1, allowed at most 5` of a measure, `shorter side: 900 pixels, allowed ...` of a header.
_MEASURED = re.compile(
    r"(?P<what>[^:;,]+?)(?::| (?=-?\d)) *(?P<value>[^;,]+), allowed (?P<allowed>[^;]+)"
)


@contextmanager
def dropped_table(output: Path) -> Iterator[Callable[[Iterable[Row]], None]]:
    """A function that takes rows with `source`, `step` and `reason` and writes those with a step.

    The file is in the folder `output` when all rows have come, or as it was before.

    Raises:
        DiskError: it cannot be written.
    """
    path = output / DROPPED
    with (
        writing(path),
        atomic_path(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_HEAD)

        def add(rows: Iterable[Row]) -> None:
            for row in rows:
                if row["step"] is not None:
                    writer.writerow(map(as_cell, _cells(row)))

        yield add


def _cells(row: Row) -> Iterator[str]:
    """Cells of a row; of several reasons the first one is split."""
    measured = _MEASURED.match(row["reason"])
    yield row["source"]
    yield row["step"]
    yield from measured.group("what", "value", "allowed") if measured else ("", "", "")
    yield row["reason"]
