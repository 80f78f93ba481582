"""Spending against plain addition, in any order of events and over restarts."""

import sqlite3
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffusion4k.endpoint.spending import Spending

EVENTS = st.sampled_from(["pay", "strike", "lose", "killed"])
COST = st.floats(0, 100)


@given(st.lists(st.tuples(EVENTS, COST, COST), max_size=30))
def test_spent(events: list[tuple[str, float, float]]) -> None:
    connection = sqlite3.connect(":memory:")
    spending = Spending(connection)
    expected, lost, reserved = 0.0, 0, 0.0
    for event, cost, price in events:
        number = spending.reserve("key", cost)
        if event == "pay":
            with connection:
                spending.pay(number, price)
            expected += price
        elif event == "strike":
            spending.strike(number)
        else:
            expected += cost
            lost += 1
            if event == "lose":
                spending.lose(number)
            else:
                reserved += cost
        assert spending.spent == pytest.approx(expected, abs=1e-9)
        assert spending.settled == pytest.approx(expected - reserved, abs=1e-9)
    # A new process: what was under way is lost, and nothing is forgotten.
    again = Spending(connection)
    again.lose_killed([])
    assert again.spent == pytest.approx(expected, abs=1e-9)
    assert again.lost()[0] == lost


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    with sqlite3.connect(":memory:") as connection:
        yield connection


def test_many_reserved_as_one(connection: sqlite3.Connection) -> None:
    spending = Spending(connection)
    with connection:
        number = spending.reserve_many("batch", 10.0)
    assert spending.spent == 10.0
    spending.lose_killed([number])
    with connection:
        for _ in range(3):
            spending.pay_part("key", 2.0)
        spending.release(number)
    assert spending.spent == Spending(connection).spent == 6.0
    assert spending.lost() == (0, 0.0)
