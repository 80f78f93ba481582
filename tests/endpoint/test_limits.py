"""Rate limits in a simulated time, judged by brute force over every window."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from diffusion4k.endpoint.limits import RateLimits


class Time:
    def __init__(self) -> None:
        self.now = 1000.0

    async def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds


def sent(requests: int | None, tokens: int | None, sizes: list[int], pause: float = 0) -> list:
    time = Time()
    limits = RateLimits(requests, tokens, clock=lambda: time.now, sleep=time.sleep)
    when = []

    async def send() -> None:
        for i, size in enumerate(sizes):
            if i == 1 and pause:
                limits.pause(pause)
            await limits.wait(size)
            when.append((time.now - 1000.0, size))
            time.now += 0.1

    asyncio.run(send())
    return when


@given(
    st.one_of(st.none(), st.integers(1, 20)),
    st.one_of(st.none(), st.integers(1, 3000)),
    st.lists(st.integers(1, 1500), min_size=1, max_size=60),
)
def test_no_minute_has_too_much(requests: int | None, tokens: int | None, sizes: list[int]) -> None:
    when = sent(requests, tokens, sizes)
    assert [size for _, size in when] == sizes
    for end, _ in when:
        window = [size for at, size in when if end - 60 < at <= end]
        assert requests is None or len(window) <= requests
        # What is larger than the whole limit goes alone.
        assert tokens is None or sum(window) <= tokens or len(window) == 1


def test_nothing_waits_without_need() -> None:
    assert [round(at, 3) for at, _ in sent(None, None, [5] * 4)] == [0.0, 0.1, 0.2, 0.3]
    assert [at for at, _ in sent(2, None, [5] * 5)][3] < 60.2
    assert sent(2, None, [5] * 5)[4][0] < 121


def test_a_pause_holds_everything() -> None:
    assert sent(None, None, [1, 1], pause=30.0)[1][0] >= 30.0
