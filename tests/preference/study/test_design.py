"""Balance of what is shown, whoever comes, goes and returns."""

from collections import Counter
from itertools import combinations
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from diffusion4k.preference.study.design import Design, DesignCell


def cells(prompts: int, models: int) -> list[DesignCell]:
    return [
        DesignCell(f"{a}|{b}", str(prompt))
        for prompt in range(prompts)
        for a, b in combinations(range(models), 2)
    ]


class Tally:
    """A design and, beside it, plain lists of what it has given."""

    def __init__(self, prompts: int, models: int, views: int | None = None, seed: int = 0) -> None:
        self.cells = cells(prompts, models)
        self.design = Design(self.cells, views=views, seed=seed)
        self.given: list[tuple[int, int, bool]] = []

    def show(self, participant: int) -> bool:
        chosen = self.design.choose(participant)
        if chosen is None:
            return False
        self.design.give(participant, *chosen)
        self.given.append((participant, *chosen))
        return True

    @property
    def views(self) -> list[int]:
        counts = Counter(unit for _, unit, _ in self.given)
        return [counts[unit] for unit in range(len(self.cells))]

    def turns(self, of: list[str] | None = None) -> list[int]:
        """Second image left less first image left: of each unit, or of each name in `of`."""
        counts = Counter()
        for _, unit, swapped in self.given:
            counts[of[unit] if of else unit] += 1 if swapped else -1
        return list(counts.values())


sizes = {"prompts": st.integers(1, 6), "models": st.integers(2, 5), "seed": st.integers(0, 99)}


@given(**sizes, views=st.none() | st.integers(1, 4), who=st.lists(st.integers(0, 7), max_size=150))
def test_whoever_comes_and_goes(
    prompts: int, models: int, seed: int, views: int | None, who: list[int]
) -> None:
    tally = Tally(prompts, models, views, seed)
    for participant in who:
        before = tally.views
        mine = {unit for p, unit, _ in tally.given if p == participant}
        left = [
            u for u in range(len(before)) if u not in mine and (views is None or before[u] < views)
        ]
        assert tally.show(participant) == bool(left)
        if left:
            # Nothing that this participant could have been shown was seen less often.
            assert before[tally.given[-1][1]] == min(before[unit] for unit in left)
    shown = [(participant, unit) for participant, unit, _ in tally.given]
    assert len(set(shown)) == len(shown)
    assert max(tally.views) <= (views or len(who))
    assert all(abs(turn) <= 1 for turn in tally.turns())
    assert list(tally.design.views) == tally.views


@given(**sizes, each=st.integers(1, 20), people=st.integers(1, 12))
def test_one_after_the_other(prompts: int, models: int, seed: int, each: int, people: int) -> None:
    """Nobody returns: views of units differ by one at most, all the time."""
    tally = Tally(prompts, models, seed=seed)
    for participant in range(people):
        for _ in range(each):
            tally.show(participant)
            assert max(tally.views) - min(tally.views) <= 1


@given(**sizes, each=st.integers(1, 20), people=st.integers(2, 10))
def test_pairs_of_models_too(prompts: int, models: int, seed: int, each: int, people: int) -> None:
    """In the middle of a round as at its end pairs of models were seen equally often."""
    tally = Tally(prompts, models, seed=seed)
    groups = [cell.group for cell in tally.cells]
    for participant in range(people):
        for _ in range(min(each, len(tally.cells))):
            tally.show(participant)
    counts = Counter(groups[unit] for _, unit, _ in tally.given)
    found = [counts[group] for group in set(groups)]
    assert max(found) - min(found) <= max(2, max(tally.views) - 1)


@settings(max_examples=30)
@given(**sizes, views=st.integers(1, 6))
def test_when_all_is_done_all_is_equal(prompts: int, models: int, seed: int, views: int) -> None:
    tally = Tally(prompts, models, views, seed)
    random, people = Random(seed), list(range(views + 3))
    while people:
        who = random.choice(people)
        if not tally.show(who):
            people.remove(who)
    assert set(tally.views) == {views}
    expected = 0 if views % 2 == 0 else 1
    assert {abs(turn) for turn in tally.turns()} == {expected}
    sides = tally.turns([cell.group for cell in tally.cells])
    assert views % 2 or set(sides) == {0}


def test_the_sides_of_a_pair_of_models_are_balanced_before_the_round_is_over() -> None:
    tally = Tally(100, 2)
    for participant in range(10):
        for _ in range(13):
            tally.show(participant)
            (lead,) = tally.turns([cell.group for cell in tally.cells])
            assert abs(lead) <= 100 // 4
    assert max(tally.views) == 2


def test_the_order_is_each_participant_s_own() -> None:
    orders = []
    for participant in range(20):
        design = Design(cells(30, 2))
        order = []
        for _ in range(30):
            chosen = design.choose(participant)
            assert chosen
            design.give(participant, *chosen)
            order.append(chosen[0])
        assert sorted(order) == list(range(30))
        orders.append(tuple(order))
    assert len(set(orders)) == 20
    assert len({order[0] for order in orders}) > 8


def test_a_prompt_does_not_come_twice_in_a_row() -> None:
    tally = Tally(8, 4)
    for _ in range(48):
        tally.show(0)
    items = [tally.cells[unit].item for _, unit, _ in tally.given]
    assert [len(set(items[i : i + 8])) for i in range(0, 48, 8)] == [8] * 6


def test_one_who_leaves_is_replaced_and_may_return() -> None:
    tally = Tally(1, 2, views=1)
    assert tally.show(0)
    assert tally.design.choose(1) is None
    _, unit, swapped = tally.given[0]
    tally.design.release(unit, swapped)
    assert tally.design.choose(1) is not None
    assert tally.design.choose(0) is None  # It is still their own to answer.
    tally.design.retain(unit, swapped)
    assert tally.design.choose(1) is None
