"""The one rule of who has paid attention."""

from itertools import product

import pytest

from diffusion4k.preference.attention import Attention, attention, passed


@pytest.mark.parametrize(
    ("check", "copy", "tie", "sharp", "ties_allowed", "found"),
    [
        ("degraded", True, False, True, True, "no"),
        ("degraded", False, False, True, True, "yes"),
        ("degraded", False, True, True, True, "yes"),
        ("degraded", True, False, False, True, "neither"),
        ("identical", False, False, True, True, "no"),
        ("identical", False, True, False, True, "yes"),
        ("identical", False, False, True, False, "neither"),
        ("", True, False, True, True, ""),
    ],
)
def test_what_an_answer_says(check, copy, tie, sharp, ties_allowed, found) -> None:
    given = {"copy": copy, "tie": tie, "sharp": sharp, "ties_allowed": ties_allowed}
    assert passed(check, **given) == found


@pytest.mark.parametrize(
    ("answers", "failed", "seen"),
    [
        (["yes", "neither", "yes"], 0, 1),
        (["no", "neither", "yes"], 1, 1),  # half of what says something
        (["no", "yes", "yes"], 0, 1),
        (["no", "no", "yes"], 1, 1),
        (["neither"], 0, 0),
        ([], 0, 0),
    ],
)
def test_a_check_is_failed_by_half_of_its_answers(answers, failed: int, seen: int) -> None:
    assert attention([answers]) == Attention(failed, seen)


def chance(slips: float, equal: float) -> float:
    """That someone is left out: one pair of equal images (wrong with `equal` by each question), two
    with a blurred copy (wrong with `slips`), every combination of right and wrong."""
    total = 0.0
    for wrong in product((False, True), repeat=7):
        likely = 1.0
        for number, each in enumerate(wrong):
            share = equal if number < 3 else slips
            likely *= share if each else 1 - share
        words = ["no" if each else "yes" for each in wrong]
        found = attention([words[:3], [*words[3:5], "neither"], [*words[5:], "neither"]])
        total += likely * bool(found.flag())
    return total


def test_how_often_careful_and_careless_people_are_left_out() -> None:
    """The figures of the module's first lines and of the manual."""
    assert chance(0.05, 0.05) == pytest.approx(0.011, abs=5e-4)
    assert chance(1 / 3, 2 / 3) == pytest.approx(0.674, abs=5e-4)


def test_a_flag_in_words() -> None:
    assert Attention(1, 3).flag() == Attention(0, 0).flag() == ""
    assert Attention(2, 3).flag() == "failed 2 of 3 attention checks"
    assert Attention(1, 1).flag(5) == "failed 1 of 1 attention check"
