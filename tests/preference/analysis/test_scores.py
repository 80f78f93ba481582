"""Answers made ready: orders averaged, checks judged, doubles dropped."""

from dataclasses import replace

import pytest

from diffusion4k.errors import Diffusion4kError
from diffusion4k.preference.analysis.scores import PEOPLE, Failure, ready
from tests.preference.analysis.simulate import answer, people

DETAILS, ADHERENCE = "fine_details", "prompt_adherence"


def judged(prompt: int, first: str, choice: str, question: str = DETAILS):
    return answer(question, prompt, "gpt-4o", "a", "b", first, choice, study="judge")


def test_a_judges_two_orders_are_one_score() -> None:
    found = ready(
        [
            *(judged(0, "a", "model_a"), judged(0, "b", "model_a")),
            *(judged(1, "a", "model_a"), judged(1, "b", "model_b")),
            *(judged(2, "a", "tie"), judged(2, "b", "model_b")),
            judged(3, "a", "model_a"),  # in one order only: left out
        ]
    )
    assert list(found.scores) == ["gpt-4o"]
    assert [score.value for score in found.scores["gpt-4o"]] == [1.0, 0.5, 0.25]
    assert found.one_order == 1


def test_people_are_together_and_judges_apart() -> None:
    rows = [answer(DETAILS, 0, name, "a", "b", "a", "model_b") for name in ("p1", "p2")]
    other = [replace(judged(0, first, "model_a"), participant="zeta") for first in "ab"]
    found = ready([*other, judged(0, "a", "tie"), judged(0, "b", "tie"), *rows])
    assert list(found.answers) == [PEOPLE, "gpt-4o", "zeta"]
    assert [len(scores) for scores in found.scores.values()] == [2, 1, 1]


def test_images_of_one_prompt_are_one_score() -> None:
    one = answer(DETAILS, 0, "p1", "a", "b", "a", "model_a")
    other = replace(one, prompt_id="1b", choice="tie")
    [score] = ready([one, other]).scores[PEOPLE]
    assert score.value == 0.75


def test_an_older_export_counts_once() -> None:
    old = people({"a": 0.0, "b": 0.5}, number=3, prompts=4)
    later = [replace(row, choice="tie", at="2026-02-01T00:00:00Z") for row in old[:5]]
    found = ready([*old, *later])
    assert len(found.scores[PEOPLE]) == len(old)
    assert sum(score.value == 0.5 for score in found.scores[PEOPLE]) >= 5


def check(name: str, kind: str, choice: str, question: str = DETAILS, ties: bool = True):
    other = "a" if kind == "identical" else "a (degraded)"
    rows = [answer(question, 0, name, "a", other, "a", choice, check=kind)]
    rows += [answer(DETAILS, i, name, "a", "b", "a", "model_a") for i in range(3)]
    if ties:
        rows.append(answer(ADHERENCE, 9, "someone", "a", "b", "a", "tie"))
    return rows


@pytest.mark.parametrize(
    ("rows", "fails"),
    [
        (check("p", "degraded", "model_a"), False),
        (check("p", "degraded", "model_b"), True),
        (check("p", "degraded", "tie"), False),
        (check("p", "degraded", "model_b", ADHERENCE), False),
        (check("p", "identical", "tie"), False),
        (check("p", "identical", "model_a"), True),
        (check("p", "identical", "model_a", ties=False), False),
    ],
)
def test_who_fails_a_check_is_left_out(rows, fails: bool) -> None:
    rows += [answer(DETAILS, 0, "attentive", "a", "b", "a", "model_b")]
    found = ready(rows)
    assert found.failures == ([Failure("p", 1, 1, 3)] if fails else [])
    assert found.checks == 1
    raters = {score.rater for score in found.scores[PEOPLE]}
    assert ("p" in raters) is not fails and "attentive" in raters


def test_nothing_left() -> None:
    with pytest.raises(Diffusion4kError, match=r"no answers left \(1 to attention checks, 1 part"):
        ready(check("p", "degraded", "model_b", ties=False))
