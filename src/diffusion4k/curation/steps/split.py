"""What is kept goes to `train` or, set aside for evaluation, to `eval`."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import pyarrow as pa

from diffusion4k.curation.duplicates import split
from diffusion4k.curation.duplicates.groups import CORRELATION, DISTANCE
from diffusion4k.curation.engine import as_frame, joined
from diffusion4k.curation.recipe import DuplicatesRecipe, SplitRecipe
from diffusion4k.curation.steps.base import drop_by_index, kept
from diffusion4k.curation.steps.duplicates import columns_of, group

if TYPE_CHECKING:
    from daft import DataFrame

__all__ = ["SplitStep"]

_COLUMNS = ("index", "name", "width", "height")


class SplitStep:
    """Near-duplicates stay on one side, also those that a lenient recipe kept."""

    name = "split"

    def __init__(
        self,
        recipe: SplitRecipe,
        duplicates: DuplicatesRecipe,
        fingerprints: Callable[[], "DataFrame"],
    ) -> None:
        self._wanted, self._fingerprints = recipe, fingerprints
        self._alike = DuplicatesRecipe(
            distance=max(duplicates.distance, DISTANCE),
            least_correlation=min(duplicates.least_correlation, CORRELATION),
        )
        # Else one picture of each group is all that is left.
        self._is_lenient = self._alike != duplicates

    def run(self, table: "DataFrame") -> "DataFrame":
        """Add the column split: train, eval, or null for dropped candidates."""
        recipe = self._wanted
        table = _with_names_once(table).collect()
        columns = columns_of(table, self._fingerprints() if self._is_lenient else None, _COLUMNS)
        sizes = zip(columns["width"], columns["height"], strict=True)
        sides = split(
            columns["name"],
            group(columns, self._alike) if self._is_lenient else range(len(columns["name"])),
            eval_share=recipe.share if recipe.count is None else None,
            eval_count=recipe.count,
            seed=recipe.seed,
            eligible=[min(size) >= recipe.min_shorter_side for size in sizes],
        )
        found = pa.table(
            {
                "index": pa.array(columns["index"], pa.int64()),
                "split": pa.array(sides, pa.string()),
            }
        )
        return joined(table, as_frame(found), on="index")


def _with_names_once(table: "DataFrame") -> "DataFrame":
    """Names that an ending made equal: the first keeps it, as files are written by their names."""
    rows = kept(table).select("index", "name").sort("index").to_arrow().to_pylist()
    first: dict[str, int] = {}
    reasons = {
        row["index"]: f"name: {row['name']} is also that of another picture: rename the file"
        for row in rows
        if first.setdefault(row["name"].casefold(), row["index"]) != row["index"]
    }
    return drop_by_index(table, "split", reasons) if reasons else table
