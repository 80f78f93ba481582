"""Names a server answers to, bodies it reads, headers of every answer, and the door."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from diffusion4k.web.protection import BodyLimit, HostCheck, SecurityHeaders, own_address
from diffusion4k.web.session import CSRF_HEADER, Session, SessionDoor


async def echo(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(len(await request.body())))


APP = Starlette(routes=[Route("/", echo, methods=["GET", "POST"]), Route("/other", echo)])


def client(app: object) -> TestClient:
    return TestClient(app, base_url="http://127.0.0.1:8765")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("bound", "name", "status"),
    [
        ("127.0.0.1", "127.0.0.1:8765", 200),
        ("127.0.0.1", "localhost:9000", 200),
        ("127.0.0.1", "localhost", 200),
        ("127.0.0.1", "[::1]:8765", 200),
        ("127.0.0.1", "evil.example", 421),
        ("127.0.0.1", "evil.example:8765", 421),
        ("127.0.0.1", "127.0.0.1.evil.example:8765", 421),
        ("127.0.0.1", "192.168.0.7:8765", 421),
        ("127.0.0.1", "", 421),
        ("127.0.0.1", "localhost.", 421),
        ("0.0.0.0", "192.168.0.7:8765", 200),
        ("0.0.0.0", "evil.example:8765", 421),
        ("studio.lan", "studio.lan:8765", 200),
        ("studio.lan", "evil.example", 421),
    ],
)
def test_names_that_are_answered(bound: str, name: str, status: int) -> None:
    answer = client(HostCheck(APP, bound)).get("/", headers={"Host": name})
    assert answer.status_code == status
    if status == 421:
        right = {"127.0.0.1": "127.0.0.1 or localhost", "0.0.0.0": own_address("0.0.0.0")}
        assert f"Open it as {right.get(bound, bound)}" in answer.text
        assert not name or f" {name} " not in answer.text


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("study.example.org", 200),
        ("study.example.org:443", 200),
        ("127.0.0.1:8765", 200),
        ("other.example.org", 421),
        ("study.example.org.evil.example", 421),
    ],
)
def test_names_that_a_proxy_passes_on(name: str, status: int) -> None:
    app = HostCheck(APP, "127.0.0.1", ["study.example.org"])
    answer = client(app).get("/", headers={"Host": name})
    assert answer.status_code == status
    assert ("Open it as study.example.org" in answer.text) is (status == 421)


@pytest.mark.parametrize(("length", "status"), [(0, 200), (100, 200), (101, 413), (10_000, 413)])
@pytest.mark.parametrize("chunked", [False, True])
def test_bodies_up_to_the_limit(length: int, status: int, chunked: bool) -> None:
    body = b"x" * length
    chunks = (body[i : i + 7] for i in range(0, length, 7))
    answer = client(BodyLimit(APP, 100)).post("/", content=chunks if chunked else body)
    assert answer.status_code == status
    if status == 200:
        assert answer.text == str(length)


def test_headers_of_every_answer() -> None:
    for path in ("/", "/absent"):
        headers = client(SecurityHeaders(APP)).get(path).headers
        policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
        assert policy["default-src"] == "'none'"
        assert set(policy.values()) == {"'none'", "'self'"}
        assert policy["frame-ancestors"] == "'none'"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-frame-options"] == "DENY"
        assert headers["cache-control"] == "no-store"


@pytest.fixture
def session() -> Session:
    return Session()


@pytest.fixture
def door(session: Session) -> TestClient:
    return client(SessionDoor(APP, session, "key"))


def enter(door: TestClient, session: Session) -> None:
    answer = door.get("/", params={"token": session.token})
    assert answer.status_code == 200
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "domain" not in cookie
    assert '<meta http-equiv="refresh" content="0; url=/">' in answer.text
    assert session.token not in answer.text


def test_nobody_comes_in_without_the_token(door: TestClient) -> None:
    assert door.get("/").status_code == 403
    assert door.get("/other").status_code == 403
    assert door.post("/").status_code == 403
    assert door.get("/", params={"token": "guess"}).status_code == 403
    assert door.get("/", params={"token": "töken"}).status_code == 403
    assert door.get("/", cookies={"key": "guess"}).status_code == 403
    assert door.get("/other", params={"token": "guess"}).status_code == 403


def test_the_token_becomes_a_cookie(door: TestClient, session: Session) -> None:
    enter(door, session)
    assert door.get("/").text == "0"
    assert door.get("/other").status_code == 200


def test_the_token_opens_the_door_of_one_server_only(door: TestClient) -> None:
    assert door.get("/", params={"token": Session().token}).status_code == 403


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "http://127.0.0.1:8765"}, 200),
        ({"Origin": "http://127.0.0.1:8765", "Sec-Fetch-Site": "same-origin"}, 200),
        ({CSRF_HEADER: ""}, 403),
        ({CSRF_HEADER: "guess"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
    ],
)
def test_changes_come_from_our_own_page(
    door: TestClient, session: Session, headers: dict[str, str], status: int
) -> None:
    enter(door, session)
    answer = door.post("/", headers={CSRF_HEADER: session.csrf} | headers)
    assert answer.status_code == status


@given(guess=st.text(max_size=60))
def test_no_guess_is_admitted(guess: str) -> None:
    session = Session()
    assert not session.admits(guess)
    assert session.admits(session.token)
    assert session.csrf not in session.token
