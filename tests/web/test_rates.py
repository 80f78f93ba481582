"""Buckets against a plain simulation of them, and what is said to those who ask too often."""

from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from diffusion4k.web import rates
from diffusion4k.web.rates import Buckets, RateLimit, client_address


@given(
    asked=st.lists(st.tuples(st.integers(0, 30), st.sampled_from("abc")), max_size=60),
    burst=st.integers(1, 5),
    ticks=st.integers(1, 7),
)
def test_nobody_gets_more_than_the_bucket_holds(
    asked: list[tuple[int, str]], burst: int, ticks: int
) -> None:
    """One drop falls every `ticks` seconds: counted in whole drops' parts, so without rounding."""
    now = [0.0]
    buckets = Buckets(1 / ticks, burst, clock=lambda: now[0])
    parts: dict[str, int] = defaultdict(lambda: burst * ticks)
    last: dict[str, int] = defaultdict(int)
    time = 0
    for wait, name in asked:
        time += wait
        now[0] = float(time)
        parts[name] = min(burst * ticks, parts[name] + time - last[name])
        last[name] = time
        near = abs(parts[name] - ticks) < 1e-6 and ticks not in (1, 2, 4)
        found = buckets.allows(name)
        if not near:  # 1/3 + 1/3 + 1/3 need not be 1 in floating point
            assert found == (parts[name] >= ticks)
        if found:
            parts[name] -= ticks


def test_only_so_many_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "_KNOWN", 3)
    buckets = Buckets(0.001, 1)
    assert all(buckets.allows(name) for name in "abcd")
    assert buckets.allows("a")  # forgotten
    assert not buckets.allows("d")
    assert len(buckets._levels) == 3


def test_too_many_are_refused_with_the_time_to_wait() -> None:
    async def hello(_: Request) -> PlainTextResponse:
        return PlainTextResponse("hello")

    app = Starlette(routes=[Route("/", hello)])
    client = TestClient(RateLimit(app, Buckets(0.1, 2), client_address))
    assert [client.get("/").status_code for _ in range(3)] == [200, 200, 429]
    answer = client.get("/")
    assert answer.text == f"too many requests: wait {answer.headers['retry-after']} seconds"
    assert 1 <= int(answer.headers["retry-after"]) <= 10


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("testclient", "testclient"),
    ],
)
def test_who_counts_as_one(host: str, name: str) -> None:
    assert client_address(Request({"type": "http", "client": (host, 1), "headers": []})) == name
    assert client_address(Request({"type": "http", "client": None, "headers": []})) == ""
