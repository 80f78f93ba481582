"""How long a study takes: by people's own times, or by a rule of thumb until there are some."""

import math
from statistics import median

from diffusion4k.preference.study.config import PairwiseTask, RatingTask, StudyConfig
from diffusion4k.preference.study.state import StudyState

__all__ = ["minutes", "questions_each", "seconds_each"]

# Seconds that people take for a question about two images, a rating, a candidate with its caption:
# rather too long than too short, as participants read them before they begin.
_PAIR, _RATING, _CANDIDATE = 8.0, 6.0, 12.0
_FEWEST = 20  # answered before people's own times are taken


def questions_each(config: StudyConfig) -> int:
    """How many answers one presentation asks for."""
    return len(config.task.questions) if isinstance(config.task, PairwiseTask) else 1


def seconds_each(config: StudyConfig, state: StudyState) -> float:
    """What one presentation takes: the median of what it took those who are not left out."""
    times = [
        shown.seconds
        for person in list(state.people.values())
        for shown in list(person.shown)
        if not person.flags and shown.is_answer and shown.seconds is not None
    ]
    if len(times) >= _FEWEST:
        return median(times)
    if isinstance(config.task, PairwiseTask):
        return _PAIR * questions_each(config)
    return _RATING if isinstance(config.task, RatingTask) else _CANDIDATE


def minutes(config: StudyConfig, state: StudyState, count: int) -> int:
    """Minutes that so many presentations take, rounded up."""
    return math.ceil(count * seconds_each(config, state) / 60)
