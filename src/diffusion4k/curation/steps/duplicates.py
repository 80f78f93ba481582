"""Exact and near-duplicates: of each group the best picture stays.

This step sees all candidates at once, but only at their fingerprints.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from diffusion4k.curation.duplicates import Fingerprint, find_duplicates
from diffusion4k.curation.duplicates import kept as best_of
from diffusion4k.curation.engine import rows_of
from diffusion4k.curation.recipe import DuplicatesRecipe
from diffusion4k.curation.steps.base import drop_by_index, kept

if TYPE_CHECKING:
    import numpy as np
    from daft import DataFrame
    from numpy.typing import NDArray

__all__ = ["DuplicatesStep", "columns_of", "group"]

_COLUMNS = ("index", "name", "width", "height", "bytes", "pixel_hash", "text")

Columns: TypeAlias = dict[str, list[Any]]
"""Values of each column, row by row."""


class DuplicatesStep:
    """Drops all of a group but one: with most pixels, most bytes, a caption, the first name."""

    name = "duplicates"

    def __init__(self, wanted: DuplicatesRecipe, fingerprints: Callable[[], "DataFrame"]) -> None:
        self._wanted, self._fingerprints = wanted, fingerprints

    def run(self, table: "DataFrame") -> "DataFrame":
        """No new column."""
        table = table.collect()  # It is read twice, here and by the steps to come.
        columns = columns_of(table, self._fingerprints(), _COLUMNS)
        labels = group(columns, self._wanted)
        names, hashes = columns["name"], columns["pixel_hash"]
        widths, heights = columns["width"], columns["height"]
        pixels = [width * height for width, height in zip(widths, heights, strict=True)]
        keep = best_of(labels, names, pixels, columns["bytes"], columns["text"])
        best = {labels[row]: row for row in range(len(names)) if keep[row]}
        reasons = {}
        for row, index in enumerate(columns["index"]):
            other = best[labels[row]]
            if other != row:
                kind = "exact duplicate" if hashes[row] == hashes[other] else "near-duplicate"
                size = f"{widths[other]}x{heights[other]} pixels"
                reasons[index] = f"{kind}: of {names[other]}, {size}"
        return drop_by_index(table, self.name, reasons)


def columns_of(
    table: "DataFrame", fingerprints: "DataFrame | None", names: tuple[str, ...]
) -> Columns:
    """Columns of what is kept so far, in order, and `fingerprint` if they are given."""
    rows = kept(table).select("key", *dict.fromkeys(("pixel_hash", *names)))
    found = rows.sort("index").to_arrow()
    columns = {name: found.column(name).to_pylist() for name in ("key", *names)}
    if fingerprints is None:
        return columns
    # Not joined: tables with thumbnails would stand in memory several times.
    pixels = found.column("pixel_hash").to_pylist()
    place = {key: number for number, key in enumerate(columns["key"])}
    columns["fingerprint"] = [None] * len(place)
    for row in rows_of(fingerprints):
        number = place.get(row["key"])
        if number is not None:
            columns["fingerprint"][number] = Fingerprint.from_columns(
                pixels[number], row["perceptual_hash"], row["thumbnail"]
            )
    return columns


def group(columns: Columns, wanted: DuplicatesRecipe) -> "NDArray[np.int64]":
    """The group's number of each row."""
    return find_duplicates(
        columns["fingerprint"],
        distance=wanted.distance,
        least_correlation=wanted.least_correlation,
    ).labels
