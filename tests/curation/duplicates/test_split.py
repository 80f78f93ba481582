"""Train and eval: groups on one side, and nothing moves when pictures are added."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffusion4k.curation.duplicates import split

NAMES = [f"{k:04}.jpg" for k in range(400)]
groupings = st.lists(st.integers(0, 60), min_size=1, max_size=120)


@given(groupings, st.floats(0, 1), st.integers(0, 99))
def test_a_group_is_on_one_side(labels: list[int], share: float, seed: int) -> None:
    sides = split(NAMES[: len(labels)], labels, eval_share=share, seed=seed)
    assert len(set(zip(labels, sides, strict=True))) == len(set(labels))


@given(groupings, st.floats(0, 1), st.integers(0, 99), st.randoms())
def test_order_and_added_pictures_change_nothing(
    labels: list[int], share: float, seed: int, random: object
) -> None:
    names = NAMES[: len(labels)]
    before = dict(zip(names, split(names, labels, eval_share=share, seed=seed), strict=True))
    # New pictures: alone, and in groups that are there, with a name behind the others.
    added = [*zip(names, labels, strict=True), ("0.jpg", 1000), ("new.jpg", labels[0])]
    random.shuffle(added)  # type: ignore[attr-defined]
    sides = split([n for n, _ in added], [g for _, g in added], eval_share=share, seed=seed)
    after = {name: side for (name, _), side in zip(added, sides, strict=True)}
    assert {name: after[name] for name in names} == before


@given(groupings, st.integers(0, 150))
def test_a_count_is_never_exceeded_and_reached_by_single_pictures(
    labels: list[int], count: int
) -> None:
    names = NAMES[: len(labels)]
    assert split(names, labels, eval_count=count).count("eval") <= count
    alone = split(names, range(len(labels)), eval_count=count)
    assert alone.count("eval") == min(count, len(labels))


def test_the_share_is_about_kept_and_the_seed_counts() -> None:
    draws = [split(NAMES, range(400), eval_share=0.1, seed=seed) for seed in range(20)]
    shares = [draw.count("eval") / 400 for draw in draws]
    assert np.mean(shares) == pytest.approx(0.1, abs=0.02)  # 6 standard deviations
    assert len({tuple(draw) for draw in draws}) == 20


def test_only_the_eligible_are_for_evaluation() -> None:
    labels = [0, 0, 1, 2, 3, 3]
    eligible = [True, False, True, False, True, True]
    sides = split(NAMES[:6], labels, eval_share=1, eligible=eligible)
    assert sides == ["train", "train", "eval", "train", "eval", "eval"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "either"),
        ({"eval_share": 0.1, "eval_count": 1}, "either"),
        ({"eval_share": 1.5}, "allowed is 0 to 1"),
        ({"eval_count": -1}, "allowed is 0 or more"),
        ({"eval_share": 0.1, "eligible": [True]}, "one length"),
    ],
)
def test_what_is_wrong_is_said(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        split(["a", "b"], [0, 1], **options)
