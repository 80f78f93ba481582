"""Measures against thresholds: nothing is opened, so thresholds may be tried at no cost."""

from functools import partial
from typing import TYPE_CHECKING

from diffusion4k.curation.engine import Row
from diffusion4k.curation.measures import MEASURES
from diffusion4k.curation.quality import Rejection, judge
from diffusion4k.curation.steps.base import drop
from diffusion4k.curation.thresholds import Thresholds

if TYPE_CHECKING:
    from daft import DataFrame

__all__ = ["QualityStep", "Rejection"]


class QualityStep:
    """One section of the thresholds: drops what is blurred, enlarged, recompressed, ..."""

    def __init__(self, section: str, thresholds: Thresholds) -> None:
        self.name = section
        self._thresholds = thresholds

    def run(self, table: "DataFrame") -> "DataFrame":
        """No new column."""
        rule = partial(_reasons, self.name, self._thresholds)
        return drop(table, self.name, rule, list(MEASURES))


def _reasons(section: str, thresholds: Thresholds, row: Row) -> str | None:
    values = {name: row[name] for name in MEASURES}
    found = [each.reason for each in judge(values, thresholds) if each.step == section]
    return "; ".join(found) or None
