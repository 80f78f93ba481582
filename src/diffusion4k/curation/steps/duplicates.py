"""Exact and near-duplicates: of each group the largest picture stays.

This step looks at all candidates at once, but only at their hashes.
"""

from collections import defaultdict
from typing import TYPE_CHECKING

from diffusion4k.curation.engine import Row
from diffusion4k.curation.standin import DuplicatesRecipe, group_duplicates
from diffusion4k.curation.steps.base import drop_by_index, kept

if TYPE_CHECKING:
    from daft import DataFrame

__all__ = ["DuplicatesStep"]

_COLUMNS = ("index", "name", "width", "height", "bytes", "pixel_hash", "perceptual_hash")


class DuplicatesStep:
    """Drops all of a group but the one with most pixels, then most bytes, then named first."""

    name = "duplicates"

    def __init__(self, wanted: DuplicatesRecipe) -> None:
        self._wanted = wanted

    def run(self, table: "DataFrame") -> "DataFrame":
        """No new column."""
        rows = kept(table).select(*_COLUMNS).sort("index").to_arrow()
        columns = {name: rows.column(name).to_pylist() for name in _COLUMNS}
        groups = group_duplicates(columns["pixel_hash"], columns["perceptual_hash"], self._wanted)
        members: dict[int, list[Row]] = defaultdict(list)
        for number, group in enumerate(groups):
            members[group].append({name: columns[name][number] for name in _COLUMNS})
        reasons: dict[int, str] = {}
        for alike in members.values():
            best = min(alike, key=_rank)
            reasons |= {row["index"]: _reason(row, best) for row in alike if row is not best}
        return drop_by_index(table, self.name, reasons)


def _rank(row: Row) -> tuple[int, int, int]:
    return -row["width"] * row["height"], -row["bytes"], row["index"]


def _reason(row: Row, best: Row) -> str:
    kind = "exact duplicate" if row["pixel_hash"] == best["pixel_hash"] else "near-duplicate"
    return f"{kind}: of {best['name']}, {best['width']}x{best['height']} pixels"
