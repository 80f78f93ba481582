"""Who has paid attention: one rule for the dashboard, the report, and places that are free again.

People err. So it is checks that are counted, not answers: a check (a pair shown to see whether
someone looks) is failed if at least half of its answers are wrong, and a participant is left out
who fails more than `TOLERATED` of them, or all that they have seen.

With the default checks (one pair of equal images, two with a blurred copy, the paper's questions,
ties allowed), of people who are careful and slip in 5% of their answers 1% are left out, of those
who click at random 67%; if one wrong answer were enough, 30% and 99%. More checks tell the two
apart better: see `docs/study-analysis.md`.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from diffusion4k.preference.answers import Check, Passed
from diffusion4k.support.wording import counted

__all__ = ["CHECKS", "TOLERATED", "Attention", "attention", "passed"]

TOLERATED = 1
"""Failed checks that leave nobody out, unless the study says another number."""

CHECKS = "failed "
"""What a flag begins with that is about attention checks."""


@dataclass(frozen=True)
class Attention:
    """How someone did in the checks that say something."""

    failed: int
    seen: int

    def flag(self, tolerated: int = TOLERATED) -> str:
        """Why the participant is to be left out; empty if not."""
        if self.failed and (self.failed > tolerated or self.failed == self.seen):
            return f"{CHECKS}{self.failed} of {counted(self.seen, 'attention check')}"
        return ""


def passed(check: Check, *, copy: bool, tie: bool, sharp: bool, ties_allowed: bool) -> Passed:
    """What one answer to a check says.

    A blurred copy must not be preferred by a question about sharpness. Of one image shown
    twice no side is better, where "no difference" can be answered.

    Args:
        check: What was shown.
        copy: Whether the blurred copy was chosen.
        tie: Whether "no difference" was.
        sharp: Whether the question is about sharpness.
        ties_allowed: Whether "no difference" could be.
    """
    if check == "degraded" and sharp:
        return "no" if copy else "yes"
    if check == "identical" and ties_allowed:
        return "yes" if tie else "no"
    return "neither" if check else ""


def attention(checks: Iterable[Iterable[Passed]]) -> Attention:
    """How many checks were failed, from the answers to each."""
    failed = seen = 0
    for answers in checks:
        found = list(answers)
        wrong, right = found.count("no"), found.count("yes")
        seen += bool(wrong or right)
        failed += bool(wrong) and wrong >= right
    return Attention(failed, seen)
