"""Threads ahead of their reader: order, how far ahead, and what becomes of errors."""

import gc
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from diffusion4k.support.prefetch import prefetch


def test_in_order_whatever_takes_longest() -> None:
    def slow_first(number: int) -> int:
        time.sleep(0.02 if number % 4 == 0 else 0)
        return number * number

    assert list(prefetch(slow_first, range(20), workers=4)) == [n * n for n in range(20)]


def test_never_further_ahead_than_its_workers() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(50):
            taken.append(number)
            yield number

    for read, number in enumerate(prefetch(lambda n: n, items(), workers=3), 1):
        assert number == read - 1
        assert len(taken) <= read + 3


def test_an_error_comes_at_its_place_and_ends_the_work() -> None:
    begun: list[int] = []
    gate = threading.Event()

    def fail_at_two(number: int) -> int:
        begun.append(number)
        if number == 2:
            raise ValueError("number 2")
        if number > 2:
            gate.wait(10)
        return number

    results = prefetch(fail_at_two, range(100), workers=2)
    assert [next(results), next(results)] == [0, 1]
    gate.set()
    with pytest.raises(ValueError, match="number 2"):
        next(results)
    assert len(begun) <= 5 and list(results) == []


def test_nothing_is_at_work_after_an_error() -> None:
    begun, done = [], []

    def slow(number: int) -> int:
        begun.append(number)
        time.sleep(0.05)
        done.append(number)
        return number

    def items() -> Iterator[int]:
        yield from range(3)
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        list(prefetch(slow, items(), workers=4))
    assert sorted(done) == sorted(begun)


def test_a_forgotten_generator_may_be_collected_in_one_of_its_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    troubles: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", troubles.append)
    holder: list[Iterator[int]] = []
    forgotten = threading.Event()

    def collect(number: int) -> int:
        if number:
            forgotten.wait(10)
            holder.clear()  # the last reference: the generator ends here
        return number

    holder.append(prefetch(collect, range(9), workers=1))
    assert next(holder[0]) == 0
    forgotten.set()
    for thread in threading.enumerate():
        if thread.name.startswith("ThreadPoolExecutor"):
            thread.join(10)
    gc.collect()
    assert not holder and not troubles
