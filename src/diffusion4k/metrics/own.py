"""Metrics of one's own: `module:function`, from the pixels of a picture to a number.

A class may be named in its place; it is made once, without arguments. What it makes is called with
the pixels, or, where it has `columns` and a `protocol`, with the picture, as `measure.Measure` is.
"""

import inspect
import math
from collections.abc import Callable, Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.metrics.measure import Better, Found, Mean, Measure
from diffusion4k.metrics.picture import MeasuredImage
from diffusion4k.metrics.registry import known_columns, measure_kinds
from diffusion4k.support.own_code import load_own, one_line, source_hash

__all__ = ["OwnMetric", "own_measures"]

_MEASURE = ("name", "protocol", "columns", "needs_prompt", "needs_original")
_OF_FILES = ("width", "height", "raw_bytes", "jpeg_bytes", "jpeg_source", "seed", "prompt")
_DIGITS = 3
_TRIED = (96, 128, 3)


class OwnMetric(Measure):
    """A function of pixels `(H, W, 3)` uint8, called by several threads at once.

    What it says about itself is taken over, where it does: `heading`, `digits` after the point, and
    `better`, which is `higher` or `lower`.
    """

    def __init__(self, code: str, function: Callable[[NDArray[np.uint8]], float]) -> None:
        self._code, self._function = code, function
        self.name = code.partition(":")[2]
        self.protocol = f"{code}, file {source_hash(function)}"
        heading = getattr(function, "heading", self.name.replace("_", " "))
        better: Better = getattr(function, "better", "")
        digits = getattr(function, "digits", _DIGITS)
        if better not in ("higher", "lower", ""):
            raise UsageError(f"{code}: better is {better!r}, allowed 'higher', 'lower' or ''")
        self.columns = (Mean(self.name, str(heading), better, int(digits)),)

    def __call__(self, picture: MeasuredImage) -> Found:
        """Raises `Diffusion4kError` where the function fails, or gives no finite number."""
        return Found({self.name: self.value(picture.pixels)})

    def value(self, pixels: NDArray[np.uint8]) -> float:
        """Value of one picture; raises as a call does."""
        try:
            value = float(self._function(pixels))
        except Exception as error:  # somebody's code may raise anything
            raise Diffusion4kError(f"{self._code} fails: {one_line(error)}") from None
        if not math.isfinite(value):
            raise Diffusion4kError(f"{self._code} gives {value}, allowed a finite number")
        return value


def own_measures(codes: Sequence[str], key: str) -> list[Measure]:
    """The measures of these names, each tried on a small picture of noise if it takes pixels.

    Args:
        key: of the recipe, or the option, that names them.

    Raises:
        UsageError: one that is not there, cannot be called so, or has the name of another.
    """
    measures: list[Measure] = []
    names = _names() if codes else set()
    for code in codes:
        measure = _measure(code, key)
        columns = [measure.name, *(column.name for column in measure.columns)]
        if again := names.intersection(columns):
            raise UsageError(f"{key}: {code}: there is a metric {min(again)} already: rename it")
        names.update(columns)
        measures.append(measure)
    return measures


def _names() -> set[str]:
    """What results call something else."""
    columns = (column.name for column in known_columns())
    return {*columns, *(getattr(kind, "name", "") for kind in measure_kinds()), *_OF_FILES}


def _measure(code: str, key: str) -> Measure:
    found = load_own(code, key)
    try:
        made = found() if inspect.isclass(found) else found
    except Exception as error:  # somebody's code may raise anything
        raise UsageError(f"{key}: {code}: cannot be made: {one_line(error)}") from None
    if all(hasattr(made, name) for name in _MEASURE):
        return cast(Measure, made)
    if not callable(made):
        raise UsageError(f"{key}: {code}: cannot be called: give it __call__(self, pixels)")
    noise = np.random.default_rng(0).integers(0, 256, _TRIED, dtype=np.uint8)
    try:
        metric = OwnMetric(code, made)
        metric.value(noise)
    except Diffusion4kError as error:
        size = "x".join(map(str, _TRIED))
        raise UsageError(f"{key}: {error} (tried on pixels {size}, uint8)") from None
    return metric
