"""What speaks against a participant's answers, in words: whoever has such a flag is left out.

The same flags are on the dashboard, in exports, and so in the report; what someone who is left out
has seen is to be seen by others.
"""

import math
from collections import Counter
from statistics import median

from diffusion4k.preference.answers import Passed
from diffusion4k.preference.attention import Attention, attention, passed
from diffusion4k.preference.study.config import (
    ChecksConfig,
    PairwiseTask,
    RatingTask,
    StudyConfig,
)
from diffusion4k.preference.study.participants import Participant, Presentation
from diffusion4k.preference.study.questions import Question
from diffusion4k.preference.study.replies import RATING

__all__ = ["attention_of", "flags_of", "passed_of"]

_FEWEST = 10  # answers before anyone is said to be too fast or to have a side
_ONE_SIDED = 4.0  # standard deviations from half: by chance one in 16,000 people


def flags_of(config: StudyConfig, person: Participant) -> list[str]:
    """Why the participant is left out; nothing if not."""
    task = config.task
    found = ["link revoked"] if person.revoked else []
    answered = [shown for shown in person.shown if shown.is_answer]
    if isinstance(task, RatingTask):
        return found + _rating_flags(answered)
    if not isinstance(task, PairwiseTask):
        return found
    failed = attention_of(config, person).flag(task.checks.tolerated)
    return found + [failed] * bool(failed) + _fast(answered, task.checks.fastest) + _side(answered)


def attention_of(config: StudyConfig, person: Participant) -> Attention:
    """How many attention checks the participant failed."""
    task = config.task
    if not isinstance(task, PairwiseTask):
        return Attention(0, 0)
    return attention(
        [passed_of(task, shown, question) for question in task.questions]
        for shown in person.shown
        if shown.unit.check and shown.is_answer
    )


def passed_of(task: PairwiseTask, shown: Presentation, question: Question) -> Passed:
    """What the answer to one question says of attention."""
    choice = shown.choices.get(question.name)
    return passed(
        shown.unit.check,
        # The copy is the second of the pair.
        copy=choice == ("left" if shown.swapped else "right"),
        tie=choice == "tie",
        sharp=question.sharp,
        ties_allowed=task.tie,
    )


def _rating_flags(answered: list[Presentation]) -> list[str]:
    """Flags of a participant who rates patches."""
    found = _fast(answered, ChecksConfig().fastest)
    ratings = [shown.choices[RATING] for shown in answered]
    if len(ratings) >= _FEWEST and len(set(ratings)) == 1:
        found.append(f"rated everything {ratings[0]}")
    return found


def _fast(answered: list[Presentation], fastest: float) -> list[str]:
    times = [shown.seconds for shown in answered if shown.seconds is not None]
    if len(times) >= _FEWEST and median(times) < fastest:
        return [f"fast: {median(times):.1f} s in the median"]
    return []


def _side(answered: list[Presentation]) -> list[str]:
    sides = Counter(choice for shown in answered for choice in shown.choices.values())
    left, right = sides["left"], sides["right"]
    # Answers about one pair go together: each pair counts once.
    pairs = len(answered)
    if pairs >= _FEWEST and left + right:
        share = left / (left + right)
        if abs(share - 0.5) * 2 * math.sqrt(pairs * (left + right) / sides.total()) > _ONE_SIDED:
            return [f"{max(share, 1 - share):.0%} of choices {'left' if share > 0.5 else 'right'}"]
    return []
