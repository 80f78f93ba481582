"""What a measure is, and the columns of a table that come of it.

A measure reads one picture and finds numbers and features. A column says how those of a whole
folder become one value: a mean, a ratio of sums, or a distance from the reference folder. With this
split every picture is measured once, results can be kept, and intervals come from resampling
pictures without measuring them again.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from diffusion4k.errors import UsageError
from diffusion4k.metrics.picture import MeasuredImage

__all__ = [
    "Column",
    "Distance",
    "Features",
    "Found",
    "Mean",
    "Measure",
    "MetricUnavailable",
    "Ratio",
    "Unavailable",
]

Features: TypeAlias = Iterable[NDArray[np.float32]]
"""Features of a folder: `(n, D)` for each picture, in order; may be read from disk on the way."""


@dataclass(frozen=True)
class Found:
    """What a measure found in one picture."""

    numbers: dict[str, float] = field(default_factory=dict)
    features: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    """`(n, D)` each: one row per picture, or per patch."""


@dataclass(frozen=True)
class Column:
    """A column of the results: its name in files, and how a table shows it."""

    name: str
    heading: str
    better: Literal["higher", "lower", ""]
    digits: int


@dataclass(frozen=True)
class Mean(Column):
    """The mean over the pictures of the number of the column's name."""


@dataclass(frozen=True)
class Ratio(Column):
    """A ratio of sums over the pictures."""

    numerator: str
    denominator: str
    doubt: str = ""
    """A number that is 1 for each picture by which the ratio does not compare."""

    def doubtful(self, found: Iterable[Mapping[str, float]]) -> int:
        """Number of doubtful pictures among those with these numbers."""
        return sum(bool(numbers.get(self.doubt)) for numbers in found)


@dataclass(frozen=True)
class Distance(Column):
    """Distance from the folder's features to those of the reference folder."""

    features: str
    distance: Callable[[Features, Features], float]


class Measure(Protocol):
    """Looks at one picture; may be called from several threads at once."""

    name: str
    protocol: str
    """All that the values depend on beside the picture: options, pre-processing, SHA-256 of the
    weights. What was found under one protocol is never taken for another's."""
    columns: tuple[Column, ...]
    needs_prompt: bool
    needs_original: bool

    def __call__(self, picture: MeasuredImage) -> Found:
        """Raises `Diffusion4kError` for a picture that cannot be measured."""


@dataclass(frozen=True)
class Unavailable:
    """A measure that cannot be made here: said once, and its columns are left empty."""

    columns: tuple[str, ...]
    reason: str
    """One line: what is missing and how to get it."""


class MetricUnavailable(UsageError):
    """A measure for which no weights are named or whose package is not installed.

    Weights that are named and cannot be used are another error, which ends the run.
    """
