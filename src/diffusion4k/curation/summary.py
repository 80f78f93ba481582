"""How many pictures each step kept and dropped, and why: `counts.json`, and a table to look at."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from diffusion4k.curation.engine import Row
from diffusion4k.curation.files import COUNTS, EVAL, SPLITS, TRAIN
from diffusion4k.support.files import write_text, writing
from diffusion4k.support.wording import counted

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["Summary"]

_SHOWN = 3  # reasons of a step in the table


class CountedStep(TypedDict):
    """What a step left of the candidates and dropped; why, the most frequent reason first."""

    step: str
    kept: int
    dropped: int
    reasons: dict[str, int]


class Summary:
    """Counts by step; reasons are counted by their part before the first value."""

    def __init__(self, steps: Sequence[str]) -> None:
        self._steps = steps
        self._reasons: Counter[tuple[str, str]] = Counter()
        self._splits: Counter[str] = Counter()
        self.candidates = 0
        self.without_caption = 0
        """Published pictures without a caption: training refuses them."""

    def add(self, rows: Iterable[Row]) -> None:
        """Count rows by `step`, `reason`, `split`, and whether there is a `text`."""
        for row in rows:
            self.candidates += 1
            if row["step"] is None:
                self._splits[row["split"]] += 1
                self.without_caption += not row["text"]
            else:
                self._reasons[row["step"], _head(row["reason"])] += 1

    @property
    def kept(self) -> int:
        """Pictures published."""
        return sum(self._splits.values())

    def counts(self) -> dict[str, object]:
        """What `counts.json` holds."""
        splits = {split: self._splits[split] for split in SPLITS}
        return {"candidates": self.candidates, "steps": self.steps(), **splits}

    def steps(self) -> list[CountedStep]:
        """What each step has kept and dropped, and for which reasons."""
        left = self.candidates
        steps: list[CountedStep] = []
        for step in self._steps:
            reasons = {
                why: number for (by, why), number in self._reasons.most_common() if by == step
            }
            left -= sum(reasons.values())
            steps.append(
                {
                    "step": step,
                    "kept": left,
                    "dropped": sum(reasons.values()),
                    "reasons": dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0]))),
                }
            )
        return steps

    def write(self, folder: Path) -> None:
        """Write `counts.json`."""
        path = folder / COUNTS
        with writing(path):
            write_text(path, json.dumps(self.counts(), indent=2) + "\n")

    def table(self) -> "Table":
        """Step, kept, dropped and the most frequent reasons."""
        from rich.table import Table

        train, held_out = self._splits[TRAIN], self._splits[EVAL]
        title = (
            f"{counted(self.candidates, 'candidate')}: {train} to train on, {held_out} to "
            "evaluate on"
        )
        table = Table("step", title=title, title_justify="left")
        for heading in ("kept", "dropped"):
            table.add_column(heading, justify="right")
        table.add_column("most frequent reasons")
        for step in self.steps():
            reasons = list(step["reasons"].items())
            shown = [f"{why} ({number})" for why, number in reasons[:_SHOWN]]
            shown += [f"{len(reasons) - _SHOWN} more"] if len(reasons) > _SHOWN else []
            table.add_row(step["step"], str(step["kept"]), str(step["dropped"]), ", ".join(shown))
        return table


def _head(reason: str) -> str:
    """`noise` of `noise 7.1, allowed at most 5`, `aspect` of `aspect: 4 to 1, ...`."""
    return re.split(r"[:(;,]| (?=-?\d)", reason, maxsplit=1)[0].strip()
