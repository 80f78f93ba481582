"""Measures against thresholds: nothing is opened, so thresholds may be tried at no cost."""

from typing import TYPE_CHECKING

from diffusion4k.curation.engine import Row
from diffusion4k.curation.standin import MEASURES, Thresholds, judge
from diffusion4k.curation.steps.base import drop

if TYPE_CHECKING:
    from daft import DataFrame

__all__ = ["QualityStep"]


class QualityStep:
    """Drops what is blurred, enlarged, recompressed, noisy, flat, ...; all reasons are given."""

    name = "quality"

    def __init__(self, thresholds: Thresholds) -> None:
        self._thresholds = thresholds

    def run(self, table: "DataFrame") -> "DataFrame":
        """No new column."""
        thresholds = self._thresholds

        def rule(row: Row) -> str | None:
            values = {name: row[name] for name in MEASURES if row[name] is not None}
            return "; ".join(judge(values, thresholds)) or None

        return drop(table, self.name, rule, MEASURES)
