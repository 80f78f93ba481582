"""Your own scores, such as of watermarks, text or nudity: a function of the picture's pixels."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from diffusion4k.curation.engine import Row
from diffusion4k.curation.entries import LOCATION
from diffusion4k.curation.reading import Reader
from diffusion4k.curation.recipe import HookRecipe
from diffusion4k.curation.steps.base import drop, kept
from diffusion4k.curation.store import Store, Work
from diffusion4k.data.images import open_rgb
from diffusion4k.support.own_code import load_own, one_line, source_hash

if TYPE_CHECKING:
    from daft import DataFrame

__all__ = ["HookStep"]

_BATCH = 4


class HookStep:
    """Drops pictures whose score is below `min` or above `max`.

    The function is called in threads, once per picture; a model is best loaded at its first call.
    Scores are kept as long as the function's module does not change.

    Raises:
        UsageError: there is no such function.
    """

    def __init__(self, wanted: HookRecipe, reader: Reader, work: Path) -> None:
        self.name = wanted.name
        self._wanted, self._reader = wanted, reader
        settings = [wanted.function, source_hash(_load(wanted.function))]
        self._store = Store(work, wanted.name, {wanted.name: pa.float64()}, settings)

    def run(self, table: "DataFrame") -> "DataFrame":
        """Add a column of the hook's name."""
        begin = partial(_begin, self._reader, self._wanted)
        table = self._store.complete(table, begin, LOCATION, wanted=kept(table), batch=_BATCH)
        rule = partial(_violation, self._wanted)
        return drop(table, self.name, rule, [self.name, "problem"]).exclude("problem")


def _begin(reader: Reader, wanted: HookRecipe) -> Work:
    return partial(_scored, reader.again(), wanted)


def _scored(reader: Reader, wanted: HookRecipe, row: Row) -> Row:
    with reader.open(row) as file:
        pixels = np.asarray(open_rgb(file))
    try:
        return {wanted.name: float(_load(wanted.function)(pixels))}
    except Exception as error:
        return {
            "fatal": f"hook {wanted.name}: {wanted.function} failed on {row['source']} "
            f"({one_line(error)}): fix it and run the same command to continue"
        }


def _violation(wanted: HookRecipe, row: Row) -> str | None:
    if row["problem"]:
        return str(row["problem"])
    score = row[wanted.name]
    if not math.isfinite(score):
        return f"{wanted.name}: {score}, allowed is a number"
    if wanted.min is not None and score < wanted.min:
        return f"{wanted.name}: {score:.4g}, allowed at least {wanted.min:g}"
    if wanted.max is not None and score > wanted.max:
        return f"{wanted.name}: {score:.4g}, allowed at most {wanted.max:g}"
    return None


def _load(name: str) -> Callable[[NDArray[np.uint8]], float]:
    found: Callable[[NDArray[np.uint8]], float] = load_own(name, "hooks")
    return found
