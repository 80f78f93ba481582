"""What is kept, what is let go, and that threads share one making."""

import threading
from concurrent.futures import ThreadPoolExecutor
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffusion4k.web.cache import BoundedCache


@given(
    limit=st.integers(1, 20),
    wanted=st.lists(st.tuples(st.integers(0, 5), st.integers(1, 25)), max_size=40),
)
def test_against_a_list_of_what_was_used_last(limit: int, wanted: list[tuple[int, int]]) -> None:
    cache: BoundedCache[int] = BoundedCache(limit, lambda value: value)
    model: list[tuple[int, int]] = []  # key and value, which is its size; last used last
    for key, size in wanted:
        made: list[int] = []
        value = cache.get(key, lambda size=size, made=made: made.append(size) or size)
        known = dict(model).get(key)
        assert value == (size if known is None else known)
        assert bool(made) == (known is None)
        model = [entry for entry in model if entry[0] != key] + [(key, value)]
        while sum(size for _, size in model) > limit and len(model) > 1:
            model.pop(0)
        assert cache.bytes == sum(size for _, size in model)


def test_threads_that_ask_at_once_get_what_was_made_once() -> None:
    cache: BoundedCache[object] = BoundedCache(10, lambda _: 1)
    together, made = threading.Barrier(8), []

    def make() -> object:
        made.append(object())
        return made[-1]

    def ask(_: int) -> object:
        together.wait()
        return cache.get("key", make)

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(ask, range(8)))) == 1
    assert len(made) == 1


def test_a_failure_is_told_and_not_kept() -> None:
    cache: BoundedCache[int] = BoundedCache(10, lambda value: value)

    def fail() -> int:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        cache.get("key", fail)
    assert cache.get("key", lambda: 3) == 3


def test_what_is_held_is_counted_whatever_comes_and_goes() -> None:
    random = Random(0)
    cache: BoundedCache[int] = BoundedCache(100, lambda value: value)
    for _ in range(2000):
        key = random.randrange(30)
        cache.get(key, lambda: random.randrange(1, 40))
        held = [value for each in range(30) if (value := cache.peek(each)) is not None]
        assert cache.bytes == sum(held)
        assert cache.bytes <= 100
        assert cache.peek(key) is not None
    assert cache.peek("absent") is None
