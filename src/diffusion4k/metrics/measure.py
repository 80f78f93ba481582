"""What a measure is, what it is made of, and the columns of a table that come of it.

A measure reads one picture and finds numbers and features. A column says how those of a whole
folder become one value: a mean, a ratio of sums, or a distance from the reference folder. With this
split every picture is measured once, results can be kept, and intervals come from resampling
pictures without measuring them again.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Literal, ParamSpec, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from diffusion4k.config.types import Section
from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.metrics.frechet import frechet_distance
from diffusion4k.metrics.picture import MeasuredImage
from diffusion4k.metrics.settings import MeasureSettings

__all__ = [
    "Column",
    "Distance",
    "Features",
    "Found",
    "FrechetDistance",
    "Mean",
    "Measure",
    "MeasureSetup",
    "MetricUnavailable",
    "Ratio",
    "Unavailable",
    "check_pair",
    "stacked",
]

S = TypeVar("S", bound=Section)
T = TypeVar("T")
P = ParamSpec("P")
Better: TypeAlias = Literal["higher", "lower", ""]
"""Which values of a number are better, if any are."""

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
    better: Better
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


@dataclass(frozen=True)
class FrechetDistance(Distance):
    """The Fréchet distance of the features; `frechet.Gaussian` is all it needs of either folder."""

    distance: Callable[[Features, Features], float] = frechet_distance


@dataclass(frozen=True)
class MeasureSetup:
    """What measures are made of.

    Args:
        settings: options of those that need no weights but what a package brings.
        networks: names the weights of the others, as `networks.Networks` does; None: it names none.
        device: where networks compute.
    """

    settings: MeasureSettings = field(default_factory=MeasureSettings)
    networks: Section | None = None
    device: str = "cpu"
    _loaded: dict[object, Any] = field(default_factory=dict, repr=False, compare=False)

    def section(self, kind: type[S]) -> S:
        """The part of `networks` that is of this kind; its defaults where there is none."""
        return self.networks if isinstance(self.networks, kind) else kind()

    def weights(self, key: str) -> str:
        """The weights that a key of `networks` names.

        Raises:
            MetricUnavailable: it names none.
        """
        name: str | None = getattr(self.networks, key, None)
        if name is None:
            raise MetricUnavailable(
                f"no weights: `{key}` names none; docs/metric-networks.md says which"
            )
        return name

    def once(self, load: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
        """`load(*arguments, **options)`, the same object for all measures that ask for it."""
        key = load, arguments, tuple(sorted(options.items()))
        if key not in self._loaded:
            self._loaded[key] = load(*arguments, **options)
        found: T = self._loaded[key]
        return found


class Measure(ABC):
    """Looks at one picture; may be called from several threads at once.

    A subclass that states its `position`, in a file of this package, is found by
    `metrics.registry`: there is no other list. The file imports torch and other heavy libraries
    only when something is loaded, as recipes are read without them.
    """

    name: str
    protocol: str
    """All that the values depend on beside the picture: options, pre-processing, SHA-256 of the
    weights. What was found under one protocol is never taken for another's."""
    columns: tuple[Column, ...] = ()
    needs_prompt: bool = False
    needs_original: bool = False
    position: ClassVar[int]
    """Where its columns stand in tables, from the left."""
    section: ClassVar[type[Section] | None] = None
    """Keys of `Networks` that name its weights and set its options; None: it needs no weights but
    those that a package brings."""

    @abstractmethod
    def __call__(self, picture: MeasuredImage) -> Found:
        """What is found in the picture. Raises `Diffusion4kError` if it cannot be measured."""

    @classmethod
    def make(cls, setup: MeasureSetup) -> "Measure":
        """The measure, with everything loaded.

        Raises:
            MetricUnavailable: no weights named, or a package that is not installed.
            Diffusion4kError: weights that are named and cannot be used.
        """
        return cls()

    @classmethod
    def makers(cls, setup: MeasureSetup) -> dict[tuple[str, ...], Callable[[], "Measure"]]:
        """What the setup asks for, by the names of its columns: usually one measure, by `make`."""
        return {tuple(column.name for column in cls.columns): partial(cls.make, setup)}


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


def stacked(features: Features) -> NDArray[np.float32]:
    """Features `(N, D)` of a whole folder: the rows of all pictures, one under the other.

    Raises:
        Diffusion4kError: there are none.
    """
    arrays = list(features)
    if not arrays:
        raise Diffusion4kError("a folder without features has no distance from another")
    return np.concatenate(arrays)


def check_pair(a: NDArray[np.generic], b: NDArray[np.generic], least: int) -> None:
    """Refuse sets of features that cannot be compared.

    Raises:
        Diffusion4kError: other shapes than `(N, D)` of one D, less than `least` samples, or values
            that are not finite.
    """
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < least:
        raise Diffusion4kError(
            f"features of shapes {a.shape} and {b.shape}: the distance takes (N, D) of one "
            f"extractor with at least {least} samples each"
        )
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise Diffusion4kError("features that are not finite: look for broken images or weights")
