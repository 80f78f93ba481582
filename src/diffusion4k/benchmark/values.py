"""From findings to the values of a table, each with a 95% interval from resampling pictures.

    mean, ratio of sums    percentile bootstrap over pictures
    distance               jackknife over 20 groups of the row's pictures, with all patches of a
                           picture together; the reference stays as it is

Drawing with replacement repeats pictures, which raises a distance: see `statistics.jackknife`.
"""

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diffusion4k.errors import Diffusion4kError
from diffusion4k.metrics.compression import MARK
from diffusion4k.metrics.frechet import FewSamplesWarning, Gaussian, distance_between
from diffusion4k.metrics.measure import Column, Distance, FrechetDistance, Mean, Ratio
from diffusion4k.metrics.measuring import Measured
from diffusion4k.statistics import Statistic, bootstrap, jackknife, mean_of, minus, ratio_of_sums

__all__ = ["EMPTY", "Cell", "Values", "foreign_files", "from_zero", "per_picture"]


@dataclass(frozen=True)
class Cell:
    """A value with its interval; None where there is none."""

    value: float | None
    low: float | None = None
    high: float | None = None
    mark: str = field(default="", kw_only=True)
    """Why it does not compare, where it is a ratio of foreign JPEGs: see `compression.MARK`."""


EMPTY = Cell(None)


def from_zero(cell: Cell) -> Cell:
    """The cell of a quantity that is never below zero, with its interval cut off there.

    A symmetric interval is wide with few pictures or seeds. An estimate that may itself be below
    zero (of KID, of CMMD) keeps its interval.
    """
    if cell.value is None or cell.low is None or cell.value < 0 or cell.low >= 0:
        return cell
    return replace(cell, low=0.0)


_ROOM = 1 << 30  # bytes of features in memory


class Values:
    """Values of columns for rows of pictures, beside the pictures of one reference (or none)."""

    def __init__(
        self, reference: Sequence[Measured], *, resamples: int = 2000, groups: int = 20
    ) -> None:
        """`groups` of pictures for the intervals of distances; with 0 they have none."""
        self._reference, self._resamples, self._groups = reference, resamples, groups
        self._theirs: dict[str, Gaussian] = {}
        self._distances: dict[tuple[str, tuple[Path, ...]], Statistic] = {}
        self._memory = _Memory()

    def value(self, column: Column, findings: Sequence[Measured]) -> Cell:
        """The column's value of a row; empty where pictures or reference do not give one."""
        statistic = self.statistic(column, findings)
        if statistic is None:
            return EMPTY
        cell = self._cell(column, statistic, len(findings))
        if foreign_files(column, findings):
            cell = replace(cell, mark=MARK)
        return from_zero(cell) if isinstance(column, Distance) else cell

    def difference(
        self, column: Column, first: Sequence[Measured], second: Sequence[Measured]
    ) -> Cell:
        """First minus second, of pictures that are pairs in this order, drawn as pairs."""
        a, b = (self.statistic(column, findings) for findings in (first, second))
        if not (a and b):
            return EMPTY
        cell = self._cell(column, minus(a, b), len(first))
        return replace(cell, mark=MARK) if foreign_files(column, [*first, *second]) else cell

    def _cell(self, column: Column, statistic: Statistic, rows: int) -> Cell:
        if isinstance(column, Distance):
            found = jackknife(statistic, rows, groups=self._groups)
        else:
            found = bootstrap(statistic, rows, resamples=self._resamples)
        numbers = (found.value, found.low, found.high)
        return Cell(*(number if math.isfinite(number) else None for number in numbers))

    def statistic(self, column: Column, findings: Sequence[Measured]) -> Statistic | None:
        """The column's value as a function of how often each picture came; None: it has none."""
        if not findings:
            return None
        if isinstance(column, Distance):
            return self._distance(column, findings)
        if per_picture(column, findings) is None:
            return None
        if isinstance(column, Ratio):
            names = column.numerator, column.denominator
            return ratio_of_sums(*([f.numbers[name] for f in findings] for name in names))
        return mean_of([f.numbers[column.name] for f in findings])

    def _distance(self, column: Distance, findings: Sequence[Measured]) -> Statistic | None:
        """Distances take long: each is worked out once, for the row and for its pairs."""
        reference = self._reference
        if not reference or any(column.features not in f.kept for f in (*findings, *reference)):
            return None
        key = column.name, tuple(found.path for found in findings)
        if key not in self._distances:
            known: dict[bytes, float] = {}

            def statistic(counts: NDArray[np.float64]) -> NDArray[np.float64]:
                for row in counts:
                    if row.tobytes() not in known:
                        ours = _Features(self._memory, findings, column.features, row)
                        known[row.tobytes()] = self._measured(column, ours)
                return np.array([known[row.tobytes()] for row in counts])

            self._distances[key] = statistic
        return self._distances[key]

    def _measured(self, column: Distance, ours: "_Features") -> float:
        theirs = _Features(self._memory, self._reference, column.features)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FewSamplesWarning)  # The notes say it.
                if not isinstance(column, FrechetDistance):
                    return column.distance(ours, theirs)
                # The reference is gathered once for all.
                if column.name not in self._theirs:
                    self._theirs[column.name] = Gaussian(theirs)
                return distance_between(Gaussian(ours), self._theirs[column.name])
        except Diffusion4kError:  # Too few samples.
            return math.nan


def foreign_files(column: Column, findings: Sequence[Measured]) -> int:
    """How many pictures' sizes are not comparable in this column."""
    return column.doubtful(f.numbers for f in findings) if isinstance(column, Ratio) else 0


def per_picture(column: Column, findings: Sequence[Measured]) -> NDArray[np.float64] | None:
    """A mean's number or a ratio of each picture; None for a distance, or where one has none."""
    if isinstance(column, Mean):
        wanted = [column.name]
    elif isinstance(column, Ratio):
        wanted = [column.numerator, column.denominator]
    else:
        return None
    if not all(name in found.numbers for found in findings for name in wanted):
        return None
    numbers = [np.array([found.numbers[name] for found in findings]) for name in wanted]
    with np.errstate(divide="ignore", invalid="ignore"):
        return numbers[0] if len(numbers) == 1 else numbers[0] / numbers[1]


class _Memory:
    """Features that were read from the store, kept for the next time as long as there is room."""

    def __init__(self) -> None:
        self._kept: dict[tuple[Path, str], NDArray[np.float32]] = {}
        self._room = _ROOM

    def features(self, found: Measured, name: str) -> NDArray[np.float32]:
        key = found.kept[name], name
        if key in self._kept:
            return self._kept[key]
        array = found.features(name)
        if array.nbytes <= self._room:
            self._room -= array.nbytes
            self._kept[key] = array
        return array


class _Features:
    """Features of a folder's pictures, as often as counts say; may be gone through again."""

    def __init__(
        self,
        memory: _Memory,
        findings: Sequence[Measured],
        name: str,
        counts: NDArray[np.float64] | None = None,
    ) -> None:
        self._memory, self._findings, self._name = memory, findings, name
        self._counts = np.ones(len(findings)) if counts is None else counts

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        for found, count in zip(self._findings, self._counts, strict=True):
            for _ in range(int(count)):
                yield self._memory.features(found, self._name)
