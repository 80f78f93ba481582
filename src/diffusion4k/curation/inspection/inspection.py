"""One person's way through the candidates: what to show, what was decided, how far it is.

Candidates are known by their number, from 0 in the order of the manifest.
"""

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

from diffusion4k.curation.files import DECISIONS
from diffusion4k.curation.inspection.candidates import Candidate, read_candidates
from diffusion4k.curation.inspection.decisions import Decision, Verdict
from diffusion4k.curation.inspection.log import DecisionLog
from diffusion4k.errors import Diffusion4kError, UsageError

__all__ = ["REASONS", "Inspection", "Progress"]

REASONS = (
    *("motion blur", "out of focus", "wrong caption", "watermark", "composition", "exposure"),
    *("noise", "duplicate", "unsuitable"),
)
"""Why a candidate is rejected; the page gives them the keys 1 to 9."""

_RECENT = 31  # rows from which the rate is taken


@dataclass(frozen=True)
class Progress:
    """How far the inspection is."""

    accepted: int
    rejected: int
    total: int
    per_minute: float | None
    """Rate by the median time between decisions, so that pauses do not count; None at first."""


class Inspection:
    """The candidates of a folder and the log of decisions in it.

    Args:
        folder: What `dataset build` wrote, or an image folder.
        everything: Also candidates that a step has dropped. Otherwise only those that are kept,
            and those that a person has decided about.
    """

    def __init__(self, folder: Path, *, everything: bool = False) -> None:
        found = read_candidates(folder)
        self.log = DecisionLog(folder / DECISIONS)
        decided = self.log.latest()
        self.candidates = [c for c in found.rows if everything or c.kept or c.name in decided]
        self.measures = found.measures
        if not self.candidates:
            raise UsageError(
                f"{folder}: all {len(found.rows)} candidates were dropped: --all shows them"
            )
        self._numbers = {c.name: number for number, c in enumerate(self.candidates)}
        # A decision about another picture of that name does not hold.
        self._hashes = {
            name: self.candidates[number].picture_hash()
            for name, number in self._numbers.items()
            if name in decided
        }

    def candidate(self, number: int) -> Candidate:
        """The candidate of a number.

        Raises:
            Diffusion4kError: there is none.
        """
        if not 0 <= number < len(self.candidates):
            raise Diffusion4kError(f"no candidate {number}: reload the page")
        return self.candidates[number]

    def numbers(self, show: Verdict | None, order: str = "", falling: bool = False) -> list[int]:
        """Candidates with that decision, None for all; by a measure, those without it last."""
        if order and order not in self.measures:
            raise Diffusion4kError(f"no measure {order}: allowed {', '.join(self.measures)}")
        holding = self._holding()
        numbers = [
            number
            for number, candidate in enumerate(self.candidates)
            if show is None or _verdict(holding.get(candidate.name)) == show
        ]
        if order:
            sign = -1 if falling else 1
            values = {n: self.candidates[n].measures.get(order) for n in numbers}
            numbers.sort(
                key=lambda n: (values[n] is None, sign * (values[n] or 0.0))  # stable
            )
        return numbers

    def holds(self, number: int) -> Decision | None:
        """The decision about a candidate."""
        candidate = self.candidate(number)
        decision = self.log.latest_of(candidate.name)
        return decision if decision and self._fits(decision, candidate) else None

    def decide(self, number: int, verdict: Verdict, reason: str | None = None) -> None:
        """Accept or reject; a corrected caption stays."""
        before = self.holds(number)
        self._append(number, verdict, reason, before.caption if before else None)

    def judge(
        self, name: str, verdict: Verdict, *, reason: str | None, caption: str | None, who: str
    ) -> None:
        """Decision and corrected caption of another person, who is not the user of this machine."""
        candidate = self.candidate(self._numbers[name])
        before = self.holds(self._numbers[name])
        if caption is None or caption == candidate.text:
            caption = before.caption if before else None
        picture = self._hash(candidate)
        self.log.append(name, picture, verdict, reason=reason, caption=caption, who=who)

    def fix_caption(self, number: int, caption: str) -> None:
        """Correct the caption, unless it says so already; the decision stays."""
        before = self.holds(number)
        if caption != self.caption(number):
            self._append(number, _verdict(before), before.reason if before else None, caption)

    def caption(self, number: int) -> str | None:
        """The caption as it was corrected, or else as the candidate has it.

        Corrections are distinguished from what the manifest says even where both are the same:
        the manifest may have been built with the correction.
        """
        held = self.holds(number)
        corrected = held.caption if held else None
        return self.candidate(number).text if corrected is None else corrected

    def undo(self) -> tuple[str | None, int | None]:
        """Take the last change back: name and number of its candidate, None where it has none."""
        name = self.log.undo()
        return name, self._numbers.get(name) if name else None

    def progress(self) -> Progress:
        """How far it is."""
        counts = Counter(_verdict(decision) for decision in self._holding().values())
        times = self.log.times(_RECENT)
        gaps = [(b - a).total_seconds() for a, b in pairwise(times)]
        gap = median(gaps) if len(gaps) >= 2 else 0.0
        return Progress(
            counts["accepted"],
            counts["rejected"],
            len(self.candidates),
            60 / gap if gap > 0 else None,
        )

    def _append(
        self, number: int, verdict: Verdict, reason: str | None, caption: str | None
    ) -> None:
        candidate = self.candidate(number)
        self.log.append(
            candidate.name, self._hash(candidate), verdict, reason=reason, caption=caption
        )

    def _holding(self) -> dict[str, Decision]:
        """Decisions about the candidates' pictures as they are."""
        return {
            name: decision
            for name, decision in self.log.latest().items()
            if name in self._numbers and self._fits(decision, self.candidates[self._numbers[name]])
        }

    def _fits(self, decision: Decision, candidate: Candidate) -> bool:
        return decision.picture_hash in (None, self._hash(candidate))

    def _hash(self, candidate: Candidate) -> str | None:
        if candidate.name not in self._hashes:
            self._hashes[candidate.name] = candidate.picture_hash()
        return self._hashes[candidate.name]


def _verdict(decision: Decision | None) -> Verdict:
    return decision.decision if decision else "undecided"
