"""What people decided about pictures: a rejected one goes, if it is still the one they saw."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pyarrow as pa

from diffusion4k.curation.engine import Row, as_frame, joined
from diffusion4k.curation.inspection.decisions import Decision
from diffusion4k.curation.steps.base import drop

if TYPE_CHECKING:
    from daft import DataFrame

__all__ = ["InspectionStep"]


class InspectionStep:
    """Drops what a person rejected."""

    name = "inspection"

    def __init__(self, decisions: Mapping[str, Decision]) -> None:
        self._rejected = [
            {"name": name, "seen": each.picture_hash, "why": each.reason or "no reason given"}
            for name, each in decisions.items()
            if each.decision == "rejected"
        ]

    def run(self, table: "DataFrame") -> "DataFrame":
        """No new column."""
        if not self._rejected:
            return table
        schema = pa.schema([(name, pa.string()) for name in ("name", "seen", "why")])
        table = joined(table, as_frame(pa.Table.from_pylist(self._rejected, schema)), on="name")
        table = drop(table, self.name, _rejected, ["pixel_hash", "seen", "why"])
        return table.exclude("seen", "why")


def _rejected(row: Row) -> str | None:
    if row["why"] is None or row["seen"] not in (None, row["pixel_hash"]):
        return None
    return f"rejected by a person: {row['why']}"
