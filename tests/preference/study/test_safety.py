"""The server as one that means ill talks to it: links, cookies, paths, floods, and what is told."""

import os
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.preference.study import access, app, service
from diffusion4k.preference.study.config import read_study
from diffusion4k.preference.study.replies import Reply
from diffusion4k.preference.study.run import revoke_links
from diffusion4k.preference.study.service import EXPIRED
from diffusion4k.preference.study.tables import AnswerRow, EventRow, ParticipantRow
from diffusion4k.web.session import CSRF_HEADER
from tests.preference.study.fake import Person, Running, choices, invited, make_study, rows
from tests.web.paths import OUT_OF_STATIC

OPEN = {"participants": {"open": True}}


def test_what_is_told_gives_no_model_away(start: Callable[..., Running]) -> None:
    running = start()
    person = running.join()
    told = person.client.get("/api/next").text + person.client.get("/api/me").text
    for word in ("model", "images-", "identical", "degraded", ".png", str(running.config.place)):
        assert word not in told


def test_foreign_expired_and_new_links(start: Callable[..., Running]) -> None:
    running = start(participants={"open": False})
    client = running.client()
    assert client.get("/api/me").status_code == 401
    assert client.get("/api/next").status_code == 401
    assert client.post("/api/join", json={}).status_code == 403
    for foreign in ("guess", "ä", access.new_participant(1)[0]):
        answer = client.post("/api/enter", json={"link": foreign})
        assert (answer.status_code, answer.text) == (403, app._FOREIGN)
    expired = client.post("/api/enter", json={"link": invited(running, days=-1)})
    assert (expired.status_code, expired.text) == (403, EXPIRED)
    # Made while the server runs.
    secret = invited(running)
    me = client.post("/api/enter", json={"link": secret})
    assert me.json()["consented"] is False
    person = Person(client, me.json())
    refused = client.get("/api/next")
    assert (refused.status_code, refused.text[:24]) == (403, "agree to take part first")
    assert client.post("/api/consent", json={}).json()["consented"] is True
    assert client.post("/api/consent", json={}).is_success
    assert [row.kind for row in rows(running, EventRow)] == ["opened", "consent"]
    assert person.next()["position"] == 0
    # It expires in the middle of the work.
    running.study.state.people[2].until = datetime.now(timezone.utc) - timedelta(seconds=1)
    assert client.get("/api/next").text == EXPIRED


def test_links_that_are_revoked(
    start: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    running = start(participants={"open": False})
    secrets = [invited(running) for _ in range(3)]

    def enter(number: int) -> Any:
        return running.client().post("/api/enter", json={"link": secrets[number]})

    people = []
    for number in (0, 1):
        client = running.client()
        people.append(
            Person(client, client.post("/api/enter", json={"link": secrets[number]}).json())
        )
        client.post("/api/consent", json={})
        people[-1].next()
    person, other = people
    assert person.reply(0, choices(person)).is_success
    with pytest.raises(UsageError, match="--revoke p-0009: no such participant"):
        revoke_links(running.config, ["p-0002", "p-0009"])
    # One who is at work, and one whose link was never opened; to revoke again changes nothing.
    revoke_links(running.config, ["p-0001", "p-0003"])
    revoke_links(running.config, ["p-0003"])
    monkeypatch.setattr(service, "_LOOK_EVERY", 0.0)
    refused = [person.reply(0, choices(person, "right")), person.client.get("/api/next")]
    refused += [enter(0), enter(2)]
    assert [(each.status_code, each.text) for each in refused] == [(403, EXPIRED)] * 4
    assert person.client.get("/api/me").status_code == 401
    assert other.reply(0, choices(other)).is_success
    assert enter(1).is_success
    # What was answered before stays.
    kept = [row for row in rows(running, AnswerRow) if row.participant == 1]
    assert [row.choice for row in kept] == ["left"] * 3
    running.close()
    # A server that starts again knows it from the first request on.
    again = Running(running.config.place.parent / "study.yaml")
    try:
        assert [again.study.state.people[n].expired for n in (1, 2, 3)] == [True, False, True]
    finally:
        again.close()


def test_links_are_kept_as_hashes(start: Callable[..., Running]) -> None:
    running = start()
    person = running.join()
    assert len(person.me["link"]) >= 43  # 256 bits in base64
    assert running.join().me["link"] != person.me["link"]
    kept = b"".join(p.read_bytes() for p in running.config.place.rglob("*") if p.is_file())
    assert person.me["link"].encode() not in kept
    (row, _) = rows(running, ParticipantRow)
    assert row.link.encode() in kept


def test_nothing_is_kept_beyond_what_is_asked(start: Callable[..., Running]) -> None:
    running = start()
    person = running.join()
    person.client.headers["User-Agent"] = "telltale-browser"
    person.client.headers["X-Forwarded-For"] = "198.51.100.7"
    person.next()
    person.reply(0, choices(person))
    kept = b"".join(p.read_bytes() for p in running.config.place.rglob("*") if p.is_file())
    for telltale in (b"telltale", b"198.51.100.7", b"testclient"):
        assert telltale not in kept


def test_changes_come_from_our_own_page(start: Callable[..., Running]) -> None:
    running = start()
    person, other = running.join(), running.join()
    person.next()
    body = {"position": 0, "key": "key-0000", "choices": choices(person), "seconds": 1.0}
    for headers in (
        {CSRF_HEADER: ""},
        {CSRF_HEADER: "guess"},
        {CSRF_HEADER: other.me["csrf"]},  # a page that was opened under another link
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
    ):
        assert person.client.post("/api/answers", json=body, headers=headers).status_code == 403
    for path in ("/api/join", "/api/enter", "/api/leave", "/api/owner/enter"):
        answer = person.client.post(path, json={}, headers={"Origin": "http://evil.example"})
        assert answer.status_code == 403, path
    # A form of another site can send this, but no JSON.
    assert person.client.post("/api/join", data={"a": "b"}).status_code == 422
    assert rows(running, AnswerRow) == []
    assert person.client.post("/api/answers", json=body).is_success


def test_cookies_are_closed_to_scripts_and_other_sites(tmp_path: Path) -> None:
    path = make_study(tmp_path, **OPEN)
    for origin in (None, "https://study.example.org"):
        running = Running(path, origin=origin)
        cookie = running.client().post("/api/join", json={}).headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert "domain" not in cookie
        assert ("secure" in cookie) == bool(origin)
        assert cookie.startswith("__host-") == bool(origin)
        assert running.client().get("/", headers={"Host": "evil.example"}).status_code == 421
        running.close()


def test_leaving_takes_the_cookie_back(start: Callable[..., Running]) -> None:
    person = start(participants={"open": True}).join()
    person.next()
    assert person.client.post("/api/leave", json={}).is_success
    assert person.client.get("/api/next").status_code == 401


@pytest.mark.parametrize(
    "path",
    [
        *OUT_OF_STATIC,
        *("/tiles/0/7/0/0", "/tiles/..%2f..%2fetc/7/0/0", "/tiles/%2fetc%2fpasswd/7/0/0"),
        *("/study.sqlite", "/secret", "/kept/study.sqlite", "/docs", "/openapi.json", "/redoc"),
        *("/api/shown/-1", "/api/shown/x", f"/api/shown/{'9' * 4000}", "/api/shown/1"),
    ],
)
def test_paths_that_lead_nowhere(start: Callable[..., Running], path: str) -> None:
    person = start().join()
    answer = person.client.get(path)
    assert answer.status_code in (404, 422)
    assert "root:" not in answer.text
    assert "import" not in answer.text


def test_tiles_that_are_not_there_or_not_for_everyone(start: Callable[..., Running]) -> None:
    running = start()
    person = running.join()
    key = person.next()["pictures"][0]["key"]
    assert person.client.get(f"/tiles/{key}/7/0/0").is_success
    for place in ("99/0/0", "7/9/0", "7/0/-1", "-1/0/0"):
        assert person.client.get(f"/tiles/{key}/{place}").status_code == 404
    assert running.client().get(f"/tiles/{key}/7/0/0").status_code == 401


def test_too_many_requests(start: Callable[..., Running], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "_BURST", 30)
    monkeypatch.setattr(app, "_RATE", 0.01)
    running = start()
    person, other = running.join(), running.join()
    found = [person.client.get("/api/me").status_code for _ in range(31)]
    assert found == [200] * 30 + [429]
    assert int(person.client.get("/api/me").headers["retry-after"]) > 0
    assert other.client.get("/api/me").status_code == 200


def test_links_cannot_be_tried_out(start: Callable[..., Running]) -> None:
    running = start()
    client = running.client()
    for path, body in (("enter", {"link": "x"}), ("owner/enter", {"token": "x"})):
        found = [client.post(f"/api/{path}", json=body).status_code for _ in range(22)]
        assert found == [403] * 20 + [429] * 2
    # Others at this address may have tried: a right link, of 256 bits, is never guessed.
    assert client.post("/api/enter", json={"link": invited(running)}).status_code == 200
    assert running.owner().get("/api/owner/summary").status_code == 200


def test_the_database_is_for_its_owner_alone(start: Callable[..., Running]) -> None:
    running = start()
    assert (running.config.place / "study.sqlite").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("content", [b"", b"\xff" * 64, b"0" * 63, None], ids=str)
def test_a_secret_that_is_none_is_told_in_one_line(tmp_path: Path, content: bytes | None) -> None:
    path = make_study(tmp_path, **OPEN)
    place = read_study(path, []).place
    place.mkdir(parents=True, exist_ok=True)
    if content is None:
        os.mkfifo(place / "secret")
    else:
        (place / "secret").write_bytes(content)
    with pytest.raises(Diffusion4kError, match=r"secret: (found|cannot be read)"):
        Running(path)


def test_links_that_last_for_ever_are_refused(tmp_path: Path) -> None:
    path = make_study(tmp_path, **OPEN)
    with pytest.raises(UsageError, match="days: found 3000000, allowed a number of at most"):
        read_study(path, ["participants.days=3000000"])


def test_what_a_participant_types_holds_no_control_characters() -> None:
    reply = Reply(
        position=0,
        key="k" * 8,
        choices={"decision": "accepted"},
        seconds=1,
        caption="\0 A\x1blake ",
    )
    assert reply.caption == "Alake"
