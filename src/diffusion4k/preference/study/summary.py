"""What the owner's dashboard shows: how far it is, who agrees, whom not to trust, who wins.

The share of a model is its wins and half its ties among all answers about a pair. Its interval is
Wilson's, as if answers were independent; those of one person are not quite, so it is a little too
narrow (`diffusion4k study report` resamples people and prompts instead).
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import combinations
from statistics import median

import numpy as np
from numpy.typing import NDArray

from diffusion4k.preference.answers import Answer
from diffusion4k.preference.study.config import PairwiseTask, StudyConfig
from diffusion4k.preference.study.export import answers_of
from diffusion4k.preference.study.pace import seconds_each
from diffusion4k.preference.study.participants import Participant, Presentation
from diffusion4k.preference.study.replies import DECISION, RATING, SKIP
from diffusion4k.preference.study.state import StudyState
from diffusion4k.preference.study.trust import attention_of
from diffusion4k.statistics.agreement import Level, krippendorff_alpha
from diffusion4k.statistics.proportions import wilson

__all__ = ["agreement", "summarise", "wins_so_far"]

_RESAMPLES = 200  # of alpha's interval: the page is asked for every few seconds
_AGREE = {"nominal": "same choice", "interval": "same rating"}


def summarise(
    config: StudyConfig, state: StudyState, *, without_flagged: bool
) -> dict[str, object]:
    """The whole summary, as JSON.

    `without_flagged` leaves flagged people out of agreement and wins, as the report does.
    """
    people = list(state.people.values())
    counted = [person for person in people if not (without_flagged and person.flags)]
    names = {person.name for person in counted}
    views = state.design.views
    seconds = seconds_each(config, state)
    summary: dict[str, object] = {
        "name": config.name,
        "title": config.title,
        "kind": config.task.kind,
        "progress": {
            "participants": len(people),
            "begun": sum(bool(person.done) for person in people),
            "finished": sum(person.done >= person.total for person in people),
            "left_out": sum(bool(person.flags) for person in people),
            "answered": sum(person.done for person in people),
            "units": len(views),
            "views": {"least": int(views.min()), "most": int(views.max())},
            "wanted": config.views,
            "needed": state.views_needed,
        },
        "participants": [_person(config, state, person, seconds) for person in people],
        "agreement": agreement(config, counted),
    }
    if isinstance(config.task, PairwiseTask):
        answers = [a for a in answers_of(config, state) if a.participant in names]
        summary["wins"] = wins_so_far(answers, titles_of(config))
    else:
        summary["choices"] = _choices(counted)
    return summary


def titles_of(config: StudyConfig) -> dict[str, str]:
    """Title of each question, as people read it, by its name."""
    if isinstance(config.task, PairwiseTask):
        return {question.name: question.title for question in config.task.questions}
    return {RATING: "Rating", DECISION: "Decision"}


def agreement(config: StudyConfig, people: Iterable[Participant]) -> list[dict[str, object]]:
    """For each question, how often two people agreed on the same item, and alpha."""
    given: dict[str, dict[str, dict[str, str]]] = defaultdict(lambda: defaultdict(dict))
    for person in people:
        for shown in person.shown:
            if not shown.unit.check and SKIP not in shown.choices.values():
                for question, side in shown.choices.items():
                    given[question][shown.unit.name][person.name] = _meant(shown, side)
    level: Level = "interval" if config.task.kind == "rating" else "nominal"
    titles = titles_of(config)
    found = []
    for question, units in given.items():
        pairs = [p for who in units.values() for p in combinations(who.values(), 2)]
        alpha = krippendorff_alpha(_table(units, level), level, resamples=_RESAMPLES)
        found.append(
            {
                "question": question,
                "title": titles[question],
                "of": _AGREE[level],
                "pairs": len(pairs),
                "same": sum(a == b for a, b in pairs) / len(pairs) if pairs else None,
                "alpha": _number(alpha.value),
                "low": _number(alpha.low),
                "high": _number(alpha.high),
            }
        )
    return found


def wins_so_far(answers: Iterable[Answer], titles: dict[str, str]) -> list[dict[str, object]]:
    """Share of the first model for each question and pair, with its 95% interval."""
    counts: dict[tuple[str, str, str], Counter[str]] = defaultdict(Counter)
    for answer in answers:
        if not answer.check:
            counts[answer.question, answer.model_a, answer.model_b][answer.choice] += 1
    order = {name: number for number, name in enumerate(titles)}
    found = []
    for (question, first, second), choices in sorted(
        counts.items(), key=lambda item: (order.get(item[0][0], len(order)), item[0])
    ):
        share = wilson(choices["model_a"] + choices["tie"] / 2, choices.total())
        found.append(
            {
                "question": question,
                "title": titles.get(question, question),
                "model_a": first,
                "model_b": second,
                "wins_a": choices["model_a"],
                "wins_b": choices["model_b"],
                "ties": choices["tie"],
                "share": share.value,
                "low": share.low,
                "high": share.high,
            }
        )
    return found


def _person(
    config: StudyConfig, state: StudyState, person: Participant, seconds: float
) -> dict[str, object]:
    times = [shown.seconds for shown in person.shown if shown.seconds is not None]
    status = _state(state, person)
    found = attention_of(config, person)
    left = 0 if status in _ENDED else person.total - person.done
    return {
        "name": person.name,
        "state": status,
        "done": person.done,
        "total": person.total,
        "seconds": round(median(times), 1) if times else None,
        "minutes_left": math.ceil(left * seconds / 60),
        "checks": {"passed": found.seen - found.failed, "seen": found.seen},
        "flags": person.flags,
    }


_ENDED = ("revoked", "done", "nothing left", "expired")


def _state(state: StudyState, person: Participant) -> str:
    """What has become of the link, in words."""
    if person.revoked:
        return "revoked"
    if person.done >= person.total:
        return "done"
    if person.expired:
        return "expired"
    if not person.opened:
        return "never opened"
    if not person.consented:
        return "opened"
    if state.is_over(person):
        return "nothing left"
    share = person.done / person.total
    return "begun" if share < 0.5 else "half done"


def _choices(people: list[Participant]) -> list[dict[str, object]]:
    """How often each choice was made, by model."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for person in people:
        for shown in person.shown:
            choice = shown.choices.get(RATING) or shown.choices.get(DECISION)
            if choice and choice != SKIP:
                counts[shown.unit.models[0]][choice] += 1
    return [{"model": model, "choices": dict(found)} for model, found in sorted(counts.items())]


def _meant(shown: Presentation, side: str) -> str:
    """A side as what stood there; a tie as the empty name."""
    if side in ("left", "right"):
        return shown.unit.models[(side == "right") != shown.swapped]
    return "" if side == "tie" else side


def _table(units: dict[str, dict[str, str]], level: Level) -> NDArray[np.float64]:
    """Raters by units, NaN where there is no answer; categories become numbers."""
    raters = {
        name: row for row, name in enumerate({who for unit in units.values() for who in unit})
    }
    values: dict[str, float] = {}
    table = np.full((len(raters), len(units)), math.nan)
    for column, unit in enumerate(units.values()):
        for who, value in unit.items():
            category = values.setdefault(value, len(values))
            table[raters[who], column] = category if level == "nominal" else float(value)
    return table


def _number(value: float) -> float | None:
    """JSON knows no NaN."""
    return None if math.isnan(value) else value
