"""Answers made ready: who is flagged is left out, and what belongs together becomes one score.

A *score* is what one rater said about one prompt's pair of models by one question: 1 for the first
model (by name), 0 for the second, 1/2 for a tie; several answers (a judge's two orders, several
images of one prompt) become their mean, so that each counts once and a judge's bias for a position
is gone. Where a judge answered one pair in one order only, that score is left out, as it is biased.

Raters are people, all of them together, and judges, each for itself.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from diffusion4k.preference.answers import Answer, Passed
from diffusion4k.preference.attention import CHECKS, TOLERATED, attention, passed
from diffusion4k.preference.judge.outcome import STUDY
from diffusion4k.preference.study.material import DEGRADED
from diffusion4k.preference.study.questions import PAPER

__all__ = ["PEOPLE", "Flagged", "Ready", "Score", "column", "is_judge", "ready"]

PEOPLE = "people"
_BLIND = {question.name for question in PAPER if not question.sharp}
"""Questions by which a blurred copy may be preferred."""
_VALUE = {"model_a": 1.0, "tie": 0.5, "model_b": 0.0}


@dataclass(frozen=True)
class Score:
    """What one rater said about one pair, prompt and question."""

    question: str
    prompt: str
    rater: str
    model_a: str
    model_b: str
    value: float
    """1: `model_a` preferred."""

    @property
    def pair(self) -> tuple[str, str]:
        """The two models."""
        return self.model_a, self.model_b


@dataclass(frozen=True)
class Flagged:
    """Someone whose answers are left out, unless all are to be kept."""

    participant: str
    why: str
    answers: int
    """Theirs, not counting those to checks."""


@dataclass(frozen=True)
class Ready:
    """Answers by group ("people", or the name of a judge), without those that are left out."""

    answers: dict[str, list[Answer]]
    scores: dict[str, list[Score]]
    flagged: list[Flagged]
    people: int
    """All who answered, flagged or not."""
    checks: int
    """Answers to attention checks."""
    one_order: int
    """Judges' scores left out, as only one order was answered."""


def ready(
    answers: Iterable[Answer], *, keep_flagged: bool = False, tolerated: int | None = None
) -> Ready:
    """Make answers ready; nothing may be left.

    Args:
        answers: Of people and judges, checks among them.
        keep_flagged: Leave nobody out; who would be is still reported.
        tolerated: Attention checks that someone may fail; by default as many as the study says.
    """
    answers = _apart(_last(answers))
    real = [answer for answer in answers if not answer.check]
    checks = [answer for answer in answers if answer.check]
    flagged = _flagged(answers, checks, tolerated)
    out = set() if keep_flagged else {each.participant for each in flagged}
    groups: dict[str, list[Answer]] = defaultdict(list)
    for answer in real:
        if is_judge(answer):
            groups[answer.participant].append(answer)
        elif answer.participant not in out:
            groups[PEOPLE].append(answer)
    groups = {name: groups[name] for name in sorted(groups, key=lambda n: (n != PEOPLE, n))}
    scores, one_order = {}, 0
    for name, found in groups.items():
        scores[name], lacking = _scores(found)
        one_order += lacking
    people = len({answer.participant for answer in answers if not is_judge(answer)})
    return Ready(groups, scores, flagged, people, len(checks), one_order)


def is_judge(answer: Answer) -> bool:
    """Whether a model answered, not a person, whose seconds are known."""
    return answer.study == STUDY and answer.pair_seconds is None


def column(scores: Iterable[Score], name: str) -> NDArray[np.str_]:
    """A text of each score, as labels of clusters."""
    return np.array([getattr(score, name) for score in scores], dtype=np.str_)


def _last(answers: Iterable[Answer]) -> list[Answer]:
    """Answers without duplicates, as when a file comes with an older export of its study."""
    found: dict[tuple[str, ...], Answer] = {}
    for answer in answers:
        # A judge has two answers about a pair, one for each order.
        first = answer.first if is_judge(answer) else ""
        key = (
            *(answer.study, answer.question, answer.prompt_id, answer.participant),
            *(answer.model_a, answer.model_b, answer.check, first),
        )
        if key not in found or found[key].at <= answer.at:
            found[key] = answer
    return list(found.values())


def _apart(answers: list[Answer]) -> list[Answer]:
    """People of several studies have numbers of their own, but the same ones."""
    if len({answer.study for answer in answers if not is_judge(answer)}) < 2:
        return answers
    return [
        answer
        if is_judge(answer)
        else replace(answer, participant=f"{answer.study} {answer.participant}")
        for answer in answers
    ]


def _flagged(answers: list[Answer], checks: list[Answer], tolerated: int | None) -> list[Flagged]:
    """Flagged participants and why.

    With `tolerated` checks are counted again, as they are for files that know of no flags.
    """
    with_ties = {answer.study for answer in answers if answer.choice == "tie"}
    said: dict[str, str] = {}
    failing: dict[str, dict[tuple[str, ...], list[Passed]]] = defaultdict(lambda: defaultdict(list))
    known = {answer.study for answer in checks if answer.passed}
    for answer in answers:
        if not is_judge(answer):
            said[answer.participant] = answer.flags
    for answer in checks:
        check = (answer.study, answer.prompt_id, answer.model_a, answer.check)
        failing[answer.participant][check].append(answer.passed or _passed(answer, with_ties))
    anew = {a.participant for a in checks if tolerated is not None or a.study not in known}
    for name in anew:
        others = [why for why in said[name].split("; ") if why and not why.startswith(CHECKS)]
        found = attention(failing[name].values())
        flag = found.flag(TOLERATED if tolerated is None else tolerated)
        said[name] = "; ".join([*others, flag] if flag else others)
    theirs = Counter(answer.participant for answer in answers if not answer.check)
    return [Flagged(name, said[name], theirs[name]) for name in sorted(said) if said[name]]


def _passed(answer: Answer, with_ties: set[str]) -> Passed:
    """For files that do not say: ties could be answered in a study in which anyone did."""
    return passed(
        answer.check,
        copy=(answer.preferred or "").endswith(DEGRADED),
        tie=answer.choice == "tie",
        sharp=answer.question not in _BLIND,
        ties_allowed=answer.study in with_ties,
    )


def _scores(answers: list[Answer]) -> tuple[list[Score], int]:
    """Scores of one group, and how many were left out."""
    found: dict[tuple[str, str, str, str, str], list[Answer]] = defaultdict(list)
    for answer in answers:
        prompt = answer.prompt or answer.prompt_id
        key = (answer.question, prompt, answer.participant, answer.model_a, answer.model_b)
        found[key].append(answer)
    scores = []
    for key, answers in found.items():
        same = _in_both_orders(answers) if is_judge(answers[0]) else answers
        if same:
            scores.append(Score(*key, float(np.mean([_VALUE[a.choice] for a in same]))))
    return scores, len(found) - len(scores)


def _in_both_orders(answers: list[Answer]) -> list[Answer]:
    """The two answers of each image, if there are two."""
    orders: dict[str, set[str]] = defaultdict(set)
    for answer in answers:
        orders[answer.prompt_id].add(answer.first)
    return [answer for answer in answers if len(orders[answer.prompt_id]) == 2]
