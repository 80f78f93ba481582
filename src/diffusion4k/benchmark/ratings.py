"""Ratings of images by people, from a CSV file.

    image,rater,rating        one line a rating, in any order; further columns do not count
    image,rating              one rater
    image,anna,ben,carl       one line an image, a column for each rater; empty where there is none

Ratings are numbers within a scale, by the paper 1 to 10. What contradicts itself is an error that
names the line; what is merely incomplete is said and left out.
"""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.support.text_files import read_table
from diffusion4k.support.wording import natural_key

__all__ = ["Ratings", "read_ratings"]

_DECIMAL_COMMA = re.compile(r"^([+-]?\d+),(\d+)$")
_RATERS = ("rater", "participant")


@dataclass(frozen=True)
class Ratings:
    """A table `(raters, images)`, NaN where a rater gave none."""

    images: tuple[str, ...]
    raters: tuple[str, ...]
    table: NDArray[np.float64]
    warnings: tuple[str, ...] = ()

    def mean(self) -> NDArray[np.float64]:
        """Mean rating of each image over those who rated it."""
        with np.errstate(invalid="ignore"):
            return np.asarray(np.nansum(self.table, 0) / (~np.isnan(self.table)).sum(0))

    def of_images(self, names: Sequence[str]) -> "Ratings":
        """Ratings of the images of these names; a warning names any others, and gaps."""
        given = np.asarray((~np.isnan(self.table)).any(axis=0))
        rated = {name for name, any_given in zip(self.images, given, strict=True) if any_given}
        known = set(names)
        warnings = [*self.warnings]
        if unknown := [name for name in self.images if name not in known]:
            warnings.append(f"{_some(unknown)}: rated, but not among the images: left out")
        if unrated := [name for name in names if name not in rated]:
            warnings.append(f"{_some(unrated)}: not rated: left out")
        places = [n for n, name in enumerate(self.images) if name in known & rated]
        table = self.table[:, places]
        if places and (gaps := int(np.isnan(table).sum())):
            share = f"{gaps} of {table.size}"
            warnings.append(f"{share} ratings are missing: means are over those who rated an image")
        for rater, row in zip(self.raters, table, strict=True):
            own = row[~np.isnan(row)]
            if 0 < len(own) < 3:
                warnings.append(f"rater {rater}: rated only {len(own)} of these images")
            elif len(own) and (own == own[0]).all():
                warnings.append(f"rater {rater}: gave every image {own[0]:g}, which ranks nothing")
        kept = tuple(self.images[n] for n in places)
        return Ratings(kept, self.raters, table, tuple(warnings))


def read_ratings(path: str | Path, scale: tuple[float, float] = (1, 10)) -> Ratings:
    """The ratings of a file, in any of the three forms; columns may be split by , ; or tab.

    Raises:
        UsageError: no such file, no column `image`, no rater, or a scale without extent.
        Diffusion4kError: a line that cannot be meant: names it.
    """
    path = Path(path)
    if not scale[0] < scale[1]:
        raise UsageError(f"scale {scale[0]:g} to {scale[1]:g}: give the lower end first")
    found: dict[tuple[str, str], tuple[float, int]] = {}
    for line, image, rater, text in _entries(path):
        where = f"{path}:{line}"
        if not image or not rater:
            raise Diffusion4kError(f"{where}: no {'rater' if image else 'image'}: name it")
        if not text:
            continue
        rating = _number(text, where, scale)
        if (image, rater) in found:
            raise Diffusion4kError(
                f"{where}: {image} is rated by {rater} in line {found[image, rater][1]} already: "
                "keep one of them"
            )
        found[image, rater] = rating, line
    if not found:
        raise UsageError(f"{path}: no rating in it")
    images = tuple(dict.fromkeys(image for image, _ in found))
    raters = tuple(sorted({rater for _, rater in found}, key=natural_key))
    table = np.full((len(raters), len(images)), np.nan)
    column = {image: n for n, image in enumerate(images)}
    row = {rater: n for n, rater in enumerate(raters)}
    for (image, rater), (rating, _) in found.items():
        table[row[rater], column[image]] = rating
    return Ratings(images, raters, table)


def _entries(path: Path) -> Iterator[tuple[int, str, str, str]]:
    """Line number, image, rater and rating as they stand there."""
    table = read_table(path)
    head = table.columns
    names = [name.lower() for name in head]
    if "image" not in names:
        raise UsageError(
            f"{path}: found the columns {', '.join(head) or 'none'}: allowed are image,rater,"
            "rating, or image and a column for each rater"
        )
    if again := [name for name in names if name and names.count(name) > 1]:
        raise UsageError(f"{path}: the column {again[0]} occurs twice: rename one")
    image = names.index("image")
    if "rating" in names:
        rater = next((names.index(name) for name in _RATERS if name in names), None)
        of_raters: list[tuple[int, int | None]] = [(names.index("rating"), rater)]
    else:
        of_raters = [(n, None) for n, name in enumerate(names) if name and n != image]
    if not of_raters:
        raise UsageError(f"{path}: only a column image: add one with ratings")
    for line, cells in table.rows:
        if len(cells) != len(names):
            raise Diffusion4kError(
                f"{path}:{line}: {len(cells)} cells, but {len(names)} columns: put names that hold "
                "a separator in quotation marks"
            )
        for rating, rater in of_raters:
            who = head[rating] if rater is None else cells[rater].strip()
            yield line, cells[image].strip(), who, cells[rating].strip()


def _number(text: str, where: str, scale: tuple[float, float]) -> float:
    low, high = scale
    try:
        rating = float(_DECIMAL_COMMA.sub(r"\1.\2", text))
    except ValueError:
        rating = math.nan
    if not math.isfinite(rating):
        raise Diffusion4kError(
            f"{where}: rating {text!r} is not a number: give one, or leave it empty"
        )
    if not low <= rating <= high:
        raise Diffusion4kError(
            f"{where}: rating {rating:g} is outside the scale of {low:g} to {high:g}: correct it, "
            "or name the scale with --scale"
        )
    return rating


def _some(names: Sequence[str]) -> str:
    rest = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + rest
