"""What steps are made of.

The table has one row per candidate. `step` and `reason` are null as long as it is kept; the step
that drops it writes its own name and why, and no later step sees it.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias

import pyarrow as pa

from diffusion4k.curation.engine import Row, as_frame, joined, load_daft, mapped

if TYPE_CHECKING:
    from daft import DataFrame

__all__ = ["VERDICT", "Rule", "Step", "drop", "drop_by_index", "kept"]

Rule: TypeAlias = Callable[[Row], str | None]
"""Why a row is dropped; None if it is kept. The part before the first colon is counted."""

VERDICT = {"step": pa.string(), "reason": pa.string()}


class Step(Protocol):
    """A block of the pipeline."""

    name: str

    def run(self, table: "DataFrame") -> "DataFrame":
        """The table with what the step found out."""


def kept(table: "DataFrame") -> "DataFrame":
    """The candidates that no step dropped so far."""
    return table.where(load_daft().col("step").is_null())


def drop(table: "DataFrame", step: str, rule: Rule, inputs: Sequence[str]) -> "DataFrame":
    """Drop what `rule` has a reason against; it sees the columns `inputs`."""

    def judge(rows: list[Row]) -> list[Row]:
        return [_judged(row, step, rule) for row in rows]

    return mapped(
        table, judge, [*inputs, *(name for name in VERDICT if name not in inputs)], VERDICT
    )


def drop_by_index(table: "DataFrame", step: str, reasons: dict[int, str]) -> "DataFrame":
    """Drop the candidates of these numbers, for a step that sees all of them at once."""
    found = pa.table(
        {
            "index": pa.array(reasons.keys(), pa.int64()),
            "found": pa.array(reasons.values(), pa.string()),
        }
    )
    table = joined(table, as_frame(found), on="index")
    return drop(table, step, lambda row: row["found"], ["found"]).exclude("found")


def _judged(row: Row, step: str, rule: Rule) -> Row:
    reason = rule(row) if row["step"] is None else None
    if reason is None:
        return {name: row[name] for name in VERDICT}
    return {"step": step, "reason": " ".join(reason.split())}
