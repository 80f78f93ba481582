"""From measured values to verdicts: which steps a photograph fails, and by which value."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from diffusion4k.config.types import Section
from diffusion4k.curation.thresholds import Thresholds

__all__ = ["Rejection", "judge"]


@dataclass(frozen=True)
class Rejection:
    """A step that drops a photograph, and one line that says why."""

    step: str
    """A section of `Thresholds`: `blur`, `upscaled`, ..."""
    reason: str
    """The value found and the value allowed."""


def judge(values: Mapping[str, float | None], thresholds: Thresholds) -> list[Rejection]:
    """All that is wrong with a photograph; empty if nothing is.

    `values` are by the names of the measures. What was not measured (absent, None or NaN) is not
    judged.
    """
    measured = {name: v for name, v in values.items() if v is not None and not math.isnan(v)}
    return [
        Rejection(step, reason)
        for step, section in thresholds
        for reason in _reasons(measured, section)
    ]


def _reasons(values: Mapping[str, float], section: Section) -> list[str]:
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
