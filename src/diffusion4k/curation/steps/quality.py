"""Measures against thresholds: nothing is opened, so thresholds may be tried at no cost."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from diffusion4k.config.types import Section
from diffusion4k.curation.engine import Row
from diffusion4k.curation.measures import MEASURES
from diffusion4k.curation.steps.base import drop
from diffusion4k.curation.thresholds import Thresholds

if TYPE_CHECKING:
    from daft import DataFrame

__all__ = ["QualityStep", "Rejection", "rejections"]


@dataclass(frozen=True)
class Rejection:
    """A step that drops a photograph, and one line that says why."""

    step: str
    """A section of `Thresholds`: `blur`, `upscaled`, ..."""
    reason: str
    """The value found and the value allowed."""


def rejections(values: Mapping[str, float | None], thresholds: Thresholds) -> list[Rejection]:
    """All that is wrong with a photograph; empty if nothing is.

    `values` are by the names of the measures. What was not measured (absent, None or NaN) is not
    judged.
    """
    measured = {name: v for name, v in values.items() if v is not None and not math.isnan(v)}
    return [
        Rejection(step, reason)
        for step, section in thresholds
        for reason in _beyond_limits(measured, section)
    ]


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
    found = [each.reason for each in rejections(values, thresholds) if each.step == section]
    return "; ".join(found) or None


def _beyond_limits(values: Mapping[str, float], section: Section) -> list[str]:
    reasons = []
    for field, limit in section:
        bound, _, name = field.partition("_")
        if limit is None or name not in values:
            continue
        value = values[name]
        if bound == "min" and value < limit:
            reasons.append(f"{name} {value:.3g}, allowed at least {limit:g}")
        elif bound == "max" and value > limit:
            reasons.append(f"{name} {value:.3g}, allowed at most {limit:g}")
    return reasons
