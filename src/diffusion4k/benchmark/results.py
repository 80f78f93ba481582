"""What a benchmark found: rows of cells, differences of pairs, and everything they rest on."""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from diffusion4k.benchmark.published import PUBLISHED_COLUMNS
from diffusion4k.benchmark.values import EMPTY, Cell
from diffusion4k.metrics.measure import Column, Unavailable
from diffusion4k.support.files import write_text
from diffusion4k.support.text_files import as_cell

__all__ = ["BenchmarkResults", "Difference", "ImageRow", "TableRow", "shown"]

_FOREIGN = "uses sizes of JPEG files of another quality"

Kind = Literal["ours", "photographs", "published"]

_HEAD = (
    *("row", "kind", "images", "size", "metric", "better", "value", "low", "high", "compares"),
    "source",
)


@dataclass(frozen=True)
class TableRow:
    """A row of the table: a model or folder, the photographs themselves, or a published one."""

    name: str
    kind: Kind
    images: int
    size: str
    cells: dict[str, Cell]
    """Cells by the name of the column; missing ones are empty."""
    notes: tuple[str, ...] = ()
    """Why the row does not compare with the first; none if it does."""
    source: str = ""
    images_folder: str = ""


@dataclass(frozen=True)
class Difference:
    """First minus second, over the images of the same prompts and seeds."""

    first: str
    second: str
    pairs: int
    cells: dict[str, Cell]


@dataclass(frozen=True)
class ImageRow:
    """The numbers of one image, by column: means and ratios only."""

    row: str
    image: str
    prompt: str
    seed: int | None
    numbers: dict[str, float]


@dataclass(frozen=True)
class BenchmarkResults:
    """All results; everything shown is made of this alone."""

    columns: tuple[Column, ...]
    rows: tuple[TableRow, ...]
    differences: tuple[Difference, ...]
    missing: tuple[Unavailable, ...]
    """Columns that could not be measured here, and why."""
    bad: dict[str, dict[str, str]]
    """Why files could not be measured, by row, then file."""
    notes: tuple[str, ...]
    images: tuple[ImageRow, ...] = ()
    facts: dict[str, object] = field(default_factory=dict)
    """Recipe, prompts, protocols, versions."""

    def of_kind(self, *kinds: Kind) -> list[TableRow]:
        """The rows of these kinds, in order."""
        return [row for row in self.rows if row.kind in kinds]

    def main_columns(self) -> list[Column]:
        """The columns with a value of ours that say which way is better."""
        return [column for column in self._measured() if column.better]

    def further_columns(self) -> list[Column]:
        """The columns with a value of ours that only describe."""
        return [column for column in self._measured() if not column.better]

    def _measured(self) -> list[Column]:
        ours = self.of_kind("ours")
        return [c for c in self.columns if any(_filled(row, c) for row in ours)]

    def published_columns(self) -> list[Column]:
        """The columns of published figures, with as many digits as these have."""
        return list(PUBLISHED_COLUMNS)

    def best(self, column: Column) -> set[str]:
        """The names of the best of those rows of ours that compare; none if only one does."""
        cells = {
            row.name: row.cells[column.name].value
            for row in self.of_kind("ours")
            if not row.notes and _filled(row, column) and not row.cells[column.name].mark
        }
        values = [value for value in cells.values() if value is not None]
        if len(values) < 2 or not column.better:
            return set()
        best = max(values) if column.better == "higher" else min(values)
        return {name for name, value in cells.items() if value == best}

    def to_json(self) -> dict[str, object]:
        """Plain data for a results file."""
        return {
            "columns": [
                {"name": c.name, "heading": c.heading, "better": c.better} for c in self.columns
            ],
            "rows": [asdict(row) for row in self.rows],
            "differences": [asdict(difference) for difference in self.differences],
            "missing": [asdict(missing) for missing in self.missing],
            "bad": self.bad,
            "notes": list(self.notes),
            **self.facts,
        }

    def save_json(self, path: Path) -> None:
        """Write `to_json`, wholly or not at all."""
        write_text(path, json.dumps(self.to_json(), indent=1, allow_nan=False) + "\n")

    def save_csv(self, path: Path) -> None:
        """One line for each value: spreadsheets and data frames take it as it is."""
        columns = _union(self.columns, self.published_columns())
        _write_csv(path, _HEAD, (line for row in self.rows for line in _lines(row, columns)))

    def save_images(self, path: Path) -> None:
        """One line for each image, with all its numbers."""
        names = [c.name for c in self.columns if any(c.name in i.numbers for i in self.images)]
        lines = (
            [
                *(each.row, each.image, each.prompt, "" if each.seed is None else each.seed),
                *(each.numbers.get(name, "") for name in names),
            ]
            for each in self.images
        )
        _write_csv(path, ["row", "image", "prompt", "seed", *names], lines)


def _lines(row: TableRow, columns: Sequence[Column]) -> Iterator[list[object]]:
    for column in columns:
        cell = row.cells.get(column.name, EMPTY)
        if cell.value is not None:
            bounds = (_blank(bound) for bound in (cell.low, cell.high))
            about = row.name, row.kind, row.images, row.size, column.name, column.better
            foreign = (_FOREIGN,) if cell.mark else ()
            yield [*about, cell.value, *bounds, "; ".join(row.notes + foreign) or "yes", row.source]


def _write_csv(path: Path, head: Sequence[str], lines: Iterable[Sequence[object]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows([as_cell(value) for value in line] for line in lines)
    write_text(path, text.getvalue())


def shown(cell: Cell, column: Column, *, interval: bool = True, sign: bool = False) -> str:
    """A cell as text, `0.751 [0.740, 0.762]` with the column's digits; a dash for an empty one.

    A value that does not compare has a mark: `15.24* [...]`.
    """
    if cell.value is None:
        return "–"

    def number(value: float) -> str:
        # Without the sign of a zero.
        return f"{round(value, column.digits) + 0.0:{'+' if sign else ''}.{column.digits}f}"

    text = number(cell.value) + cell.mark
    if interval and cell.low is not None and cell.high is not None:
        text += f" [{number(cell.low)}, {number(cell.high)}]"
    return text


def _filled(row: TableRow, column: Column) -> bool:
    return row.cells.get(column.name, EMPTY).value is not None


def _union(first: Sequence[Column], second: Iterable[Column]) -> list[Column]:
    names = {column.name for column in first}
    return [*first, *(column for column in second if column.name not in names)]


def _blank(value: float | None) -> float | str:
    return "" if value is None else value
