"""What a study found; what is shown and drawn is made of this and the images alone."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypedDict

from diffusion4k.benchmark.values import EMPTY, Cell
from diffusion4k.metrics.measure import Column, Unavailable
from diffusion4k.metrics.spectrum import LEVELS
from diffusion4k.support.files import write_text

__all__ = [
    "AblationEntry",
    "AblationFacts",
    "AblationResults",
    "ArmCurve",
    "EqualArms",
    "Verdict",
    "judge",
]

Verdict: TypeAlias = Literal["better", "worse", "differs", "equal", "cannot tell", ""]

SHARE_OF_LOSS = 1e-5
"""Share of the loss by which equal objectives may differ in float32."""


@dataclass(frozen=True)
class AblationEntry:
    """One column of one arm, after so many steps; `difference` is arm less baseline, paired."""

    arm: str
    steps: int
    column: str
    value: Cell
    difference: Cell = EMPTY
    verdict: Verdict = ""


@dataclass(frozen=True)
class ArmCurve:
    """Something of an arm by noise level or frequency, with intervals where there are any."""

    arm: str
    values: tuple[float, ...]
    low: tuple[float | None, ...] = ()
    high: tuple[float | None, ...] = ()


@dataclass(frozen=True)
class EqualArms:
    """A pair of arms whose objectives are equal, and the largest relative differences found."""

    first: str
    second: str
    loss: float
    """Largest difference in the loss of a training step, over all steps and seeds."""
    velocity_error: float
    """Largest difference in the mean error of the velocity, over all snapshots and seeds."""

    @property
    def holds(self) -> bool:
        """Whether both are within rounding."""
        return max(self.loss, self.velocity_error) <= SHARE_OF_LOSS


class AblationFacts(TypedDict):
    """What the results rest on."""

    study: dict[str, Any]
    """The recipe as it was written, without its output."""
    seeds: list[int]
    prompts: int
    images: int
    photographs: int
    training_pictures: int
    velocity_pictures: int
    cache: str
    model: str
    size: str
    batch: int
    protocols: dict[str, str]
    versions: dict[str, str]


@dataclass(frozen=True)
class AblationResults:
    """All results of a study."""

    arms: tuple[str, ...]
    baseline: str
    steps: tuple[int, ...]
    columns: tuple[Column, ...]
    entries: tuple[AblationEntry, ...]
    levels: tuple[float, ...]
    """Noise levels of `by_level`."""
    by_level: dict[str, tuple[ArmCurve, ...]]
    """Velocity error relative to the baseline's, less 1, by sub-band."""
    frequencies: tuple[float, ...]
    """Cycles per pixel of `spectra`."""
    spectra: tuple[ArmCurve, ...]
    """log2 power of each arm's images, of those before training, and of the photographs."""
    identities: tuple[EqualArms, ...]
    missing: tuple[Unavailable, ...]
    notes: tuple[str, ...]
    facts: AblationFacts
    shown: dict[str, tuple[tuple[str, str], ...]]
    """Prompt and file of each image of the first seed, by arm, for the figures."""

    def entry(self, arm: str, column: str, steps: int | None = None) -> AblationEntry | None:
        """After the last steps, if no others are named."""
        wanted = arm, column, self.steps[-1] if steps is None else steps
        return next((e for e in self.entries if (e.arm, e.column, e.steps) == wanted), None)

    def main_columns(self) -> list[Column]:
        """Columns that say which way is better, and have a value."""
        there = {e.column for e in self.entries if e.value.value is not None}
        return [c for c in self.columns if c.better and c.name in there]

    def sorted_out(self, arm: str) -> dict[Verdict, list[str]]:
        """Headings of the main columns by verdict, after the last steps.

        Without the levels of the wavelet bands, which their distance sums up.
        """
        found: dict[Verdict, list[str]] = {}
        levels = {f"band_{level}_distance" for level in range(1, LEVELS + 1)}
        for column in (c for c in self.main_columns() if c.name not in levels):
            entry = self.entry(arm, column.name)
            if entry and entry.verdict:
                found.setdefault(entry.verdict, []).append(column.heading)
        return found

    def to_json(self) -> dict[str, object]:
        """Plain data; no path of this machine."""
        keys = ("arms", "baseline", "steps", "levels", "frequencies", "notes")
        columns = [{"name": c.name, "heading": c.heading, "better": c.better} for c in self.columns]
        return {
            **{key: getattr(self, key) for key in keys},
            "columns": columns,
            "entries": [asdict(entry) for entry in self.entries],
            "by_level": {name: [asdict(c) for c in each] for name, each in self.by_level.items()},
            "spectra": [asdict(curve) for curve in self.spectra],
            "identities": [asdict(each) | {"holds": each.holds} for each in self.identities],
            "missing": [asdict(each) for each in self.missing],
            **self.facts,
        }

    def save_json(self, path: Path) -> None:
        """Write `to_json`, wholly or not at all."""
        write_text(path, json.dumps(self.to_json(), indent=1, allow_nan=False) + "\n")


def judge(difference: Cell, baseline: float | None, column: Column, margin: float) -> Verdict:
    """What the interval of a difference tells.

    `equal`: all of it lies within `margin` of the baseline's value. Else, without zero in it, the
    arm is better or worse (or differs, where neither more nor less is better). Else nothing can be
    told: neither a difference nor its absence is shown.
    """
    low, high = difference.low, difference.high
    if low is None or high is None or baseline is None:
        return "cannot tell" if difference.value is not None else ""
    reach = margin * abs(baseline)
    if -reach <= low and high <= reach:
        return "equal"
    if low <= 0 <= high:
        return "cannot tell"
    if not column.better:
        return "differs"
    return "better" if (low > 0) == (column.better == "higher") else "worse"
