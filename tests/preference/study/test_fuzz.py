"""Requests that nobody would think of: no failure of the server, no file that is not the study's.

schemathesis makes them from the application's own description: right and wrong values for every
parameter and body, with and without the cookies and tokens of a participant and of the owner.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from starlette.testclient import TestClient

from diffusion4k.preference.study import app as pages
from diffusion4k.preference.study import dashboard
from diffusion4k.preference.study.app import create_api
from diffusion4k.web.session import CSRF_HEADER
from tests.preference.study.fake import Running, make_study

schemathesis = pytest.importorskip("schemathesis", reason="`pip install schemathesis`")

SECRET = "not-to-be-seen"
PARTS = (
    *("..", "...", "%2e%2e", "..%2f", "%00", "\\", "~", "C:", "etc", "passwd", "passwords.txt"),
    *("secret", "study.sqlite", "kept", "images-0", "0.png", "static", "tiles", "api"),
)
STATUSES = {200, 400, 401, 403, 404, 405, 413, 422, 429}
QUIET = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much]


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    """A study beside which lie files that nobody may have."""
    for limit in ("_GUESSES", "_JOINS"):
        monkeypatch.setattr(pages, limit, (10**6, 10**6))
    monkeypatch.setattr(dashboard, "_GUESSES", (10**6, 10**6))
    monkeypatch.setattr(pages, "_BURST", 10**6)
    running = Running(make_study(tmp_path, participants={"open": True}, task={"tie": True}))
    for folder in (tmp_path, running.config.place, tmp_path / "images-0"):
        (folder / "passwords.txt").write_text(SECRET)
    yield running
    running.close()


class Visitors:
    """Clients that know nothing, that are a participant, and that are the owner."""

    def __init__(self, running: Running) -> None:
        person = running.join()
        self.picture = person.next()["pictures"][0]["key"]
        self.choices = {question["name"]: "tie" for question in person.me["questions"]}
        owner = running.owner()
        owner.headers[CSRF_HEADER] = person.me["csrf"]
        self.clients = [running.client(), person.client, owner]
        self.cookies = [dict(client.cookies) for client in self.clients]
        self.kept = (running.config.place / "secret").read_text()
        self.statuses: Counter[int] = Counter()

    def ask(self, who: int, **request: Any) -> None:
        client = self.clients[who]
        # A request may have taken the cookie back.
        client.cookies.clear()
        client.cookies.update(self.cookies[who])
        answer = client.request(**request)
        self.statuses[answer.status_code] += 1
        assert answer.status_code in STATUSES, (request, answer.status_code, answer.text)
        for secret in (SECRET, self.kept, "root:", "SQLite format", "Traceback"):
            assert secret not in answer.text, request
        assert "content-security-policy" in answer.headers


def fuzz(running: Running, count: int) -> Counter[int]:
    visitors = Visitors(running)
    described = create_api(running.study, cookie="key", origin=None).openapi()
    schema = schemathesis.openapi.from_dict(described)
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) >= 15
    modes = [schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE]
    each = max(count // (len(operations) * len(modes)), 1)
    for operation in operations:
        for mode in modes:
            # Where there is nothing to be given, nothing wrong can be given either.
            with suppress(Unsatisfiable):
                fuzz_one(visitors, operation.as_strategy(generation_mode=mode), each)
    return visitors.statuses


def fuzz_one(visitors: Visitors, cases: Any, count: int) -> None:
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(case=cases, who=st.sampled_from((0, 1, 1, 2)), deep=st.booleans())
    def ask(case: Any, who: int, deep: bool) -> None:
        if deep:
            deepen(visitors, case)
        send(visitors, case, who)

    ask()


def deepen(visitors: Visitors, case: Any) -> None:
    """Give what nobody can guess, so that more than the door is tried."""
    if "name" in (case.path_parameters or {}):
        known = visitors.picture if case.path.startswith("/tiles") else "study.js"
        case.path_parameters["name"] = known
    if isinstance(case.body, dict) and case.path == "/api/answers":
        case.body |= {"position": 0, "choices": visitors.choices}


def send(visitors: Visitors, case: Any, who: int) -> None:
    request = case.as_transport_kwargs(base_url="http://127.0.0.1:8765")
    request.pop("cookies", None)
    visitors.ask(who, **request)


def test_some_hundred_requests(running: Running) -> None:
    statuses = fuzz(running, 500)
    assert sum(statuses.values()) >= 300
    assert {200, 422} <= set(statuses), statuses


@pytest.mark.slow
def test_five_thousand_requests(running: Running) -> None:
    statuses: Counter[int] = Counter()
    while sum(statuses.values()) < 5000:
        statuses += fuzz(running, 5000)
    print(dict(statuses))
    assert statuses[200] > 300


@settings(max_examples=150, suppress_health_check=QUIET)
@given(
    parts=st.lists(st.sampled_from(PARTS) | st.text(max_size=8), max_size=7),
    escape=st.booleans(),
)
def test_paths_that_want_out(running: Running, parts: list[str], escape: bool) -> None:
    client: TestClient = running.client()
    path = "/".join(quote(part, safe="") if escape else quote(part, safe="%.") for part in parts)
    answer = client.get(f"http://127.0.0.1:8765/{path}")
    assert answer.status_code in STATUSES
    assert SECRET not in answer.text
    assert "root:" not in answer.text
