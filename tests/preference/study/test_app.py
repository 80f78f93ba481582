"""The server as a participant's browser talks to it, and as one that means ill does."""

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from diffusion4k.data.images import open_rgb
from diffusion4k.preference.study import dashboard, state
from diffusion4k.preference.study.tables import AnswerRow, ShownRow
from tests.preference.study.fake import Person, Running, choices, make_study, rows

OPEN = {"participants": {"open": True}}


def test_the_whole_road_of_one_participant(start: Callable[..., Running]) -> None:
    running = start(prompts=4)
    person = running.join()
    seen = []
    while not (found := person.next()).get("finished"):
        assert (found["done"], found["total"]) == (len(seen), 7)  # 4 pairs and 3 checks
        assert person.next() == found  # to reload changes nothing
        assert len(found["pictures"]) == 2
        answer = person.reply(found["position"], choices(person))
        assert answer.json() == {"kept": len(seen), "done": len(seen) + 1}
        seen.append(found)
    assert [found["position"] for found in seen] == list(range(7))
    assert {found["text"] for found in seen} == {f"prompt {n}" for n in range(4)}
    answers = rows(running, AnswerRow)
    assert len(answers) == 7 * 3
    assert len(rows(running, ShownRow)) == 7
    assert all(row.seconds <= 1.5 for row in answers)


def test_tiles_are_the_images_on_their_sides(start: Callable[..., Running], tmp_path: Path) -> None:
    running = start(task={"checks": {"identical": 0, "degraded": 0}})
    person = running.join()
    found = person.next()
    (row,) = rows(running, ShownRow)
    unit = running.study.material.by_name[row.unit]
    expected = unit.paths[::-1] if row.turned else unit.paths
    for picture, path in zip(found["pictures"], expected, strict=True):
        tile = person.client.get(f"/tiles/{picture['key']}/{picture['top']}/0/0")
        assert tile.headers["cache-control"].startswith("private")
        image = Image.open(io.BytesIO(tile.content))
        np.testing.assert_array_equal(image, open_rgb(path))


def test_sending_twice_keeps_one_answer(start: Callable[..., Running]) -> None:
    running = start()
    person = running.join()
    person.next()
    for _ in range(3):
        kept = person.reply(0, choices(person), key="the-same-key")
        assert kept.json() == {"kept": 0, "done": 1}
    # Another key with the same words says nothing new.
    assert person.reply(0, choices(person)).is_success
    assert len(rows(running, AnswerRow)) == 3
    # A late copy of the first sending does not take a correction back.
    person.reply(0, choices(person, "right"))
    person.reply(0, choices(person), key="the-same-key")
    assert set(person.client.get("/api/shown/0").json()["choices"].values()) == {"right"}


def test_a_correction_is_another_row(start: Callable[..., Running]) -> None:
    running = start()
    person = running.join()
    person.next()
    person.reply(0, choices(person, "left"))
    assert person.reply(0, choices(person, "right")).json()["done"] == 1
    found = [row.choice for row in rows(running, AnswerRow)]
    assert found == ["left"] * 3 + ["right"] * 3
    shown = person.client.get("/api/shown/0").json()
    assert set(shown["choices"].values()) == {"right"}


def test_a_server_that_starts_again_knows_everything(tmp_path: Path) -> None:
    path = make_study(tmp_path, **OPEN)
    first = Running(path)
    person = first.join()
    shown = person.next()
    person.reply(0, choices(person))
    open_one = person.next()
    first.close()

    second = Running(path)
    client = second.client()
    entered = client.post("/api/enter", json={"link": person.me["link"]})
    again = Person(client, entered.json())
    assert (again.me["done"], again.me["consented"]) == (1, True)
    found = again.next()
    assert found["position"] == 1
    assert found["pictures"] == open_one["pictures"]
    assert again.client.get("/api/shown/0").json()["pictures"] == shown["pictures"]
    # What was sent before the end and was not acknowledged is sent again.
    assert again.reply(0, choices(again), key="key-00000001").json()["done"] == 1
    assert len(rows(second, AnswerRow)) == 3
    second.close()


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        ({"position": 1}, 404, "nothing was shown as number 1"),
        ({"position": -1}, 422, "position: "),
        ({"position": 2**40}, 422, "position: "),
        ({"key": "short"}, 422, "key: "),
        ({"choices": {}}, 422, "choices: "),
        ({"choices": {"fine_details": "left"}}, 422, "choices: allowed are answers to visual_"),
        ({"choices": {"mood": "left"}}, 422, "choices: allowed are answers to visual_"),
        ({"seconds": -1}, 422, "seconds: "),
        ({"seconds": "nan"}, 422, "seconds: "),
        ({"reason": "noise"}, 422, "reason, caption: allowed for candidates"),
        ({"model": "x"}, 422, "model: Extra inputs"),
    ],
)
def test_what_is_no_answer(
    start: Callable[..., Running], change: dict[str, Any], status: int, said: str
) -> None:
    running = start()
    person = running.join()
    person.next()
    body = {"position": 0, "key": "key-0000", "choices": choices(person), "seconds": 1.0}
    answer = person.client.post("/api/answers", json=body | change)
    assert answer.status_code == status
    assert answer.text.startswith(said)
    assert "\n" not in answer.text
    assert rows(running, AnswerRow) == []


@pytest.mark.parametrize(("tie", "status"), [(True, 200), (False, 422)])
def test_ties_where_they_are_allowed(start: Callable[..., Running], tie: bool, status: int) -> None:
    running = start(task={"tie": tie})
    person = running.join()
    person.next()
    assert person.reply(0, choices(person, "tie")).status_code == status


@pytest.mark.parametrize("how", ["gone", "changed", "broken"])
def test_an_image_that_is_not_what_it_was_is_passed_over(
    start: Callable[..., Running], how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    running = start(task={"checks": {"identical": 0, "degraded": 0}})
    person = running.join()
    found = person.next()
    (row,) = rows(running, ShownRow)
    unit = running.study.material.by_name[row.unit]
    picture = found["pictures"][1 if row.turned else 0]
    path, before = unit.paths[0], unit.paths[0].stat()
    if how == "gone":
        path.unlink()
    elif how == "changed":
        Image.new("RGB", (96, 64)).save(path)
    else:
        path.write_bytes(path.read_bytes()[:200].ljust(before.st_size, b"\0"))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    refused = person.client.get(f"/tiles/{picture['key']}/{picture['top']}/0/0")
    assert refused.status_code == 422
    assert refused.text.startswith("an image cannot be shown: continue")
    assert str(path) not in refused.text  # The folder names the model.
    assert str(path) in capsys.readouterr().err
    if how != "broken":
        assert None in person.next()["pictures"]
    assert person.reply(0, choices(person)).status_code == 422
    assert person.reply(0, choices(person, "skip")).is_success
    assert person.next()["position"] == 1
    # What was passed over is no answer.
    assert running.owner().get("/api/owner/summary").json()["wins"] == []


def test_skipping_is_for_what_cannot_be_shown(start: Callable[..., Running]) -> None:
    person = start().join()
    person.next()
    assert person.reply(0, choices(person, "skip")).status_code == 422


def test_one_who_leaves_makes_room_for_another(
    start: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    none = {"checks": {"identical": 0, "degraded": 0}}
    running = start(prompts=1, views=1, task=none)
    first, second = running.join(), running.join()
    assert first.next()["position"] == 0
    assert second.next()["finished"]
    clock = boards_clock(monkeypatch)
    clock[0] += state.LEFT_AFTER + 1
    assert second.next()["position"] == 0
    # The first may still answer what they were shown.
    assert first.reply(0, choices(first)).is_success


def boards_clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock of what was shown, to be set."""
    now = [state.time.monotonic()]
    monkeypatch.setattr(state.time, "monotonic", lambda: now[0])
    return now


def test_clocks_that_are_set_back(
    start: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    running = start()
    person = running.join()
    times = iter(["2026-01-02T00:00:00+00:00", "2020-01-01T00:00:00+00:00"])
    monkeypatch.setattr("diffusion4k.preference.study.replies.now", lambda: next(times))
    person.next()
    person.reply(0, choices(person, "left"), seconds=1e9)
    person.reply(0, choices(person, "right"), seconds=0.0)
    # Order and duration do not depend on it.
    assert set(person.client.get("/api/shown/0").json()["choices"].values()) == {"right"}
    first, last = rows(running, AnswerRow)[0], rows(running, AnswerRow)[-1]
    assert first.at > last.at
    assert 0 <= first.seconds < 60


def test_the_dashboard_is_the_owner_s(start: Callable[..., Running]) -> None:
    running = start(prompts=2)
    person = running.join()
    for path in ("summary", "export/csv", "export/parquet"):
        assert person.client.get(f"/api/owner/{path}").status_code == 401
        assert running.client().get(f"/api/owner/{path}").status_code == 401
    assert (
        person.client.post("/api/owner/enter", json={"token": person.me["link"]}).status_code == 403
    )
    while not (found := person.next()).get("finished"):
        person.reply(found["position"], choices(person))
    owner = running.owner()
    summary = owner.get("/api/owner/summary").json()
    assert summary["progress"]["answered"] == 5
    assert [len(summary[key]) for key in ("wins", "agreement", "participants")] == [3, 3, 1]
    for kind in dashboard._TYPES:
        answer = owner.get(f"/api/owner/export/{kind}")
        assert f'filename="fake.{kind}"' in answer.headers["content-disposition"]
        assert len(answer.content) > 500
    assert owner.get("/api/owner/export/xlsx").status_code == 422
    assert owner.get("/api/next").status_code == 401


def test_pages_and_all_that_they_load(start: Callable[..., Running]) -> None:
    client = start().client()
    for page in ("/", "/dashboard"):
        text = client.get(page).text
        names = [part.partition('"')[0] for part in text.split('"/static/')[1:]]
        assert len(names) >= 4
        for name in [*names, "outbox.js", "clock.js", "kinds.js", "server.js"]:
            assert client.get(f"/static/{name}").status_code == 200, name
        # A strict policy forbids what is written into the page.
        assert " style=" not in text
        assert "<style" not in text
        assert " onclick=" not in text
        assert "://" not in text
        assert "content-security-policy" in client.get(page).headers
