"""What is kept goes to `train` or, set aside for evaluation, to `eval`."""

from typing import TYPE_CHECKING

import pyarrow as pa

from diffusion4k.curation.engine import as_frame, joined
from diffusion4k.curation.recipe import SplitRecipe
from diffusion4k.curation.standin import DuplicatesRecipe, group_duplicates, split
from diffusion4k.curation.steps.base import kept

if TYPE_CHECKING:
    from daft import DataFrame

__all__ = ["SplitStep"]

_COLUMNS = ("index", "width", "height", "pixel_hash", "perceptual_hash")


class SplitStep:
    """Draws by seed and content: a picture stays on its side when others come or go."""

    name = "split"

    def __init__(self, wanted: SplitRecipe, duplicates: DuplicatesRecipe) -> None:
        self._wanted, self._duplicates = wanted, duplicates

    def run(self, table: "DataFrame") -> "DataFrame":
        """With the column split: train, eval, or null for what was dropped."""
        rows = kept(table).select(*_COLUMNS).sort("index").to_arrow()
        columns = {name: rows.column(name).to_pylist() for name in _COLUMNS}
        wanted = self._wanted
        hashes = columns["pixel_hash"]
        groups = group_duplicates(hashes, columns["perceptual_hash"], self._duplicates)
        sides = zip(columns["width"], columns["height"], strict=True)
        eligible = [min(size) >= wanted.min_shorter_side for size in sides]
        count = round(wanted.share * len(hashes)) if wanted.count is None else wanted.count
        chosen = split(hashes, groups, eligible, count, wanted.seed)
        found = pa.table(
            {
                "index": pa.array(columns["index"], pa.int64()),
                "split": pa.array(["eval" if each else "train" for each in chosen], pa.string()),
            }
        )
        return joined(table, as_frame(found), on="index")
