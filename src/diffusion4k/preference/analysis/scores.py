"""Answers made ready: who did not look is left out, and what belongs together becomes one score.

A *score* is what one rater said about one prompt's pair of models by one question: 1 for the first
model (by name), 0 for the second, 1/2 for a tie; several answers (a judge's two orders, several
images of one prompt) become their mean, so that each counts once and a judge's bias for a position
is gone. Where a judge answered one pair in one order only, that score is left out, as it is biased.

Raters are people, all of them together, and judges, each for itself.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diffusion4k.errors import Diffusion4kError
from diffusion4k.preference.answers import Answer
from diffusion4k.preference.judge.outcome import STUDY
from diffusion4k.preference.study.material import DEGRADED
from diffusion4k.preference.study.questions import PAPER

__all__ = ["PEOPLE", "Failure", "Ready", "Score", "column", "is_judge", "ready"]

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
class Failure:
    """Someone who is left out."""

    participant: str
    failed: int
    checks: int
    answers: int
    """Theirs, not counting the checks."""


@dataclass(frozen=True)
class Ready:
    """Answers by group ("people", or the name of a judge), without checks and failures."""

    answers: dict[str, list[Answer]]
    scores: dict[str, list[Score]]
    failures: list[Failure]
    checks: int
    """Answers to attention checks."""
    one_order: int
    """Judges' scores left out, as only one order was answered."""


def ready(answers: Iterable[Answer]) -> Ready:
    """Make answers ready.

    Raises:
        Diffusion4kError: nothing is left.
    """
    answers = _last(answers)
    real = [answer for answer in answers if not answer.check]
    checks = [answer for answer in answers if answer.check]
    failures = _failures(real, checks)
    out = {failure.participant for failure in failures}
    groups: dict[str, list[Answer]] = defaultdict(list)
    for answer in real:
        if answer.participant not in out:
            groups[answer.participant if is_judge(answer) else PEOPLE].append(answer)
    if not groups:
        raise Diffusion4kError(
            f"no answers left ({len(checks)} to attention checks, {len(failures)} participants who "
            "failed them): give more files of answers"
        )
    groups = {name: groups[name] for name in sorted(groups, key=lambda n: (n != PEOPLE, n))}
    scores, one_order = {}, 0
    for name, found in groups.items():
        scores[name], lacking = _scores(found)
        one_order += lacking
    return Ready(groups, scores, failures, len(checks), one_order)


def is_judge(answer: Answer) -> bool:
    """Whether a model answered, not a person, whose seconds are known."""
    return answer.study == STUDY and answer.seconds is None


def column(scores: Iterable[Score], name: str) -> NDArray[np.str_]:
    """A text of each score, as labels of clusters."""
    return np.array([getattr(score, name) for score in scores], dtype=np.str_)


def _last(answers: Iterable[Answer]) -> list[Answer]:
    """Without what is twice, as where a file is given with an older export of the same study."""
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


def _failures(real: list[Answer], checks: list[Answer]) -> list[Failure]:
    """Whoever failed an attention check.

    A blurred copy must not be preferred by a question that looks at sharpness; of the same image
    twice neither may be, where ties could be answered: where anyone in the study answered one.
    """
    with_ties = {answer.study for answer in [*real, *checks] if answer.choice == "tie"}
    seen: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    failed: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for answer in checks:
        if answer.check == "identical" and answer.study not in with_ties:
            continue
        unit = (answer.study, answer.prompt_id, answer.model_a, answer.check)
        seen[answer.participant].add(unit)
        if answer.check == "identical":
            wrong = answer.choice != "tie"
        else:
            copy = (answer.preferred or "").endswith(DEGRADED)
            wrong = copy and answer.question not in _BLIND
        if wrong:
            failed[answer.participant].add(unit)
    theirs = {name: sum(answer.participant == name for answer in real) for name in failed}
    return [
        Failure(name, len(failed[name]), len(seen[name]), theirs[name]) for name in sorted(failed)
    ]


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
    """Of each image the two answers, if there are two."""
    orders: dict[str, set[str]] = defaultdict(set)
    for answer in answers:
        orders[answer.prompt_id].add(answer.first)
    return [answer for answer in answers if len(orders[answer.prompt_id]) == 2]
