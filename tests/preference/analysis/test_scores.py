"""Answers made ready: orders averaged, checks judged, doubles dropped."""

from dataclasses import replace

import pytest

from diffusion4k.preference.analysis.scores import PEOPLE, Flagged, ready
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
def test_who_fails_all_checks_is_left_out(rows, fails: bool) -> None:
    rows += [answer(DETAILS, 0, "attentive", "a", "b", "a", "model_b")]
    found = ready(rows)
    flagged = [Flagged("p", "failed 1 of 1 attention check", 3)]
    assert found.flagged == (flagged if fails else [])
    assert found.checks == 1
    raters = {score.rater for score in found.scores[PEOPLE]}
    assert ("p" in raters) is not fails and "attentive" in raters


def checks(failed: int, of: int) -> list:
    """Someone's answers to so many checks, the first of them wrong, and to three pairs."""
    rows = [
        answer(
            *(DETAILS, i, "p", "a", "a (degraded)", "a", "model_b" if i < failed else "model_a"),
            check="degraded",
        )
        for i in range(of)
    ]
    return rows + [answer(DETAILS, i, "p", "a", "b", "a", "model_a") for i in range(3)]


@pytest.mark.parametrize(
    ("failed", "of", "tolerated", "out"),
    [
        *((0, 3, None, False), (1, 3, None, False), (2, 3, None, True), (3, 3, None, True)),
        *((1, 2, None, False), (2, 2, None, True), (1, 1, None, True)),
        *((1, 3, 0, True), (2, 3, 2, False), (3, 3, 2, True), (3, 3, 9, True), (3, 4, 3, False)),
    ],
)
def test_k_of_n_checks(failed: int, of: int, tolerated: int | None, out: bool) -> None:
    found = ready(checks(failed, of), tolerated=tolerated)
    assert bool(found.flagged) is out
    assert (PEOPLE in found.scores) is not out
    kept = ready(checks(failed, of), tolerated=tolerated, keep_flagged=True)
    assert kept.flagged == found.flagged and len(kept.scores[PEOPLE]) == 3


def test_one_wrong_answer_to_a_check_of_three_is_human() -> None:
    """A check fails if at least half of its answers are wrong; a study's word on that holds."""
    said = [
        replace(answer(f"q{n}", 0, "p", "a", "a", "a", choice, check="identical"), passed=passed)
        for n, (choice, passed) in enumerate(
            (("model_a", "yes"), ("model_a", "no"), ("model_a", "yes"))
        )
    ]
    real = [answer(DETAILS, 1, "p", "a", "b", "a", "model_a")]
    assert ready([*said, *real]).flagged == []
    assert ready([*said, *real], tolerated=0).flagged == []
    assert ready([*said[1:], *real], tolerated=0).flagged[0].why == "failed 1 of 1 attention check"


def test_the_study_s_flags_hold_unless_checks_are_counted_anew() -> None:
    flags = "fast: 0.3 s in the median; failed 1 of 2 attention checks"
    rows = [
        replace(row, flags=flags, passed={"model_b": "no", "model_a": "yes"}[row.choice])
        if row.check
        else replace(row, flags=flags)
        for row in checks(1, 2)
    ]
    assert [each.why for each in ready(rows).flagged] == [flags]
    assert [each.why for each in ready(rows, tolerated=1).flagged] == ["fast: 0.3 s in the median"]


def test_nobody_left() -> None:
    found = ready(check("p", "degraded", "model_b", ties=False))
    assert (found.scores, found.people, len(found.flagged)) == ({}, 1, 1)


def test_people_of_two_studies_with_one_number_are_two() -> None:
    rows = [answer(DETAILS, 0, "p-0001", "a", "b", "a", "model_a", study=s) for s in ("one", "two")]
    found = ready(rows)
    assert {score.rater for score in found.scores[PEOPLE]} == {"one p-0001", "two p-0001"}
    assert found.people == 2
