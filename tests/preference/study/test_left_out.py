"""Whoever is left out leaves room for others, and the same people are left out everywhere."""

from collections.abc import Callable
from pathlib import Path

import pytest

from diffusion4k.preference.analysis.run import analyse
from diffusion4k.preference.answers import read_answers
from diffusion4k.preference.study import service, state
from diffusion4k.preference.study.export import export
from diffusion4k.preference.study.run import revoke_links
from diffusion4k.preference.study.summary import summarise
from tests.preference.study.fake import Person, Running, invited

DETAILS = "fine_details"


def right(running: Running, person: Person, position: int, wrong: int = 0) -> dict[str, str]:
    """What attention answers; to an attention check the first `wrong` answers are wrong."""
    known = running.study.state.people[int(person.me["participant"][2:])]
    shown = known.shown[position]
    sides = ("right", "left") if shown.swapped else ("left", "right")
    names = [question["name"] for question in person.me["questions"]]
    choices = dict.fromkeys(names, "tie" if shown.unit.check == "identical" else sides[0])
    for name in names[:wrong] if shown.unit.check else ():
        choices[name] = sides[1]
    return choices


def take_part(running: Running, person: Person, *wrong: int) -> int:
    """Everything, with so many wrong answers to the first check, the second, ...; what was seen."""
    left, seen = list(wrong), 0
    while not (found := person.next()).get("finished"):
        known = running.study.state.people[int(person.me["participant"][2:])]
        is_check = bool(known.shown[found["position"]].unit.check)
        given = left.pop(0) if is_check and left else 0
        known.shown[found["position"]].since = None
        choices = right(running, person, found["position"], given)
        assert person.reply(found["position"], choices, seconds=4.0).is_success
        seen += not is_check
    return seen


def views(running: Running) -> set[int]:
    return {int(count) for count in running.study.state.design.views}


@pytest.mark.parametrize(
    ("wrong", "is_left_out"),
    [
        ((), False),
        ((1,), False),  # one answer of seven, as in a report from a study of nine people
        ((3,), False),  # one check of three
        ((3, 3), True),
        ((3, 3, 3), True),
    ],
)
def test_what_they_have_seen_is_free_again(
    start: Callable[..., Running], wrong: tuple[int, ...], is_left_out: bool, tmp_path: Path
) -> None:
    running = start(prompts=4, views=1, task={"tie": True})
    assert take_part(running, running.join(), *wrong) == 4
    assert views(running) == {0 if is_left_out else 1}
    # Who comes next gets what is not seen by anyone who counts.
    second = running.join()
    assert take_part(running, second) == (4 if is_left_out else 0)
    assert views(running) == {1}
    # Dashboard, export and report leave out the same people.
    summary = summarise(running.config, running.study.state, without_flagged=True)
    flagged = {each["name"] for each in summary["participants"] if each["flags"]}
    assert flagged == ({"p-0001"} if is_left_out else set())
    assert summary["progress"]["left_out"] == len(flagged)
    assert {win["wins_a"] for win in summary["wins"]} == {4}
    export(running.config, running.study.state, tmp_path / "answers.csv")
    results = analyse([tmp_path / "answers.csv"])
    assert {each["participant"] for each in results["checks"]["flagged"]} == flagged
    for row in results["groups"]["people"]["win_rates"]:
        assert (row["people"], row["wins"]) == (1, 4)
    running.close()
    # A server that starts again counts alike.
    again = Running(running.config.place.parent / "study.yaml")
    assert {int(count) for count in again.study.state.design.views} == {1}
    again.close()


def test_one_check_that_was_failed_is_made_up_for(start: Callable[..., Running]) -> None:
    """Who has seen one check and failed it is left out for as long as that is all there is."""
    running = start(prompts=6, views=1, task={"tie": True})
    person = running.join()
    known = running.study.state.people[1]
    states = []
    while not (found := person.next()).get("finished"):
        position = found["position"]
        first = not any(shown.unit.check for shown in known.shown[:position])
        person.reply(position, right(running, person, position, 3 if first else 0))
        states.append(bool(known.flags))
    assert True in states and states[-1] is False
    assert views(running) == {1}


@pytest.mark.parametrize("tolerated", [0, 1, 2])
def test_the_study_says_how_many_checks_may_be_failed(
    start: Callable[..., Running], tolerated: int, tmp_path: Path
) -> None:
    running = start(prompts=4, task={"tie": True, "checks": {"tolerated": tolerated}})
    for wrong in ((), (3,), (3, 3)):
        take_part(running, running.join(), *wrong)
    flagged = {0: {"p-0002", "p-0003"}, 1: {"p-0003"}, 2: set()}[tolerated]
    export(running.config, running.study.state, tmp_path / "answers.jsonl")
    said = {answer.participant: answer.flags for answer in read_answers(tmp_path / "answers.jsonl")}
    assert {name for name, why in said.items() if why} == flagged

    def left_out(**how: object) -> set[str]:
        found = analyse([tmp_path / "answers.jsonl"], **how)  # type: ignore[arg-type]
        return {each["participant"] for each in found["checks"]["flagged"]}

    assert left_out() == flagged
    assert left_out(tolerated=0) == {"p-0002", "p-0003"}
    assert left_out(tolerated=2) == set()


def test_a_link_that_is_revoked_makes_room(
    start: Callable[..., Running], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    running = start(prompts=3, views=1, task={"checks": {"identical": 0, "degraded": 0}})
    first = running.join()
    assert take_part(running, first) == 3
    assert running.join().next()["finished"]
    revoke_links(running.config, ["p-0001"])
    monkeypatch.setattr(service, "_LOOK_EVERY", 0.0)
    assert take_part(running, running.join()) == 3
    assert views(running) == {1}
    export(running.config, running.study.state, tmp_path / "answers.csv")
    assert {answer.flags for answer in read_answers(tmp_path / "answers.csv")} == {
        "link revoked",
        "",
    }
    results = analyse([tmp_path / "answers.csv"])
    assert results["people"] == {"answered": 2, "counted": 1, "names": ["p-0003"]}


def test_links_and_what_has_become_of_them(
    start: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    checks = {"checks": {"identical": 0, "degraded": 0}}
    running = start(prompts=4, views=2, participants={"open": False}, task=checks)
    people = []
    for number in range(7):
        secret = invited(running, days=-1 if number == 6 else 30)
        client = running.client()
        entered = client.post("/api/enter", json={"link": secret})
        if number == 0:
            running.study.state.people[1].opened = False  # as if it had not been
        people.append(Person(client, entered.json()) if entered.is_success else None)
    for number, count in ((2, 1), (3, 2), (4, 4), (5, 0)):
        person = people[number]
        assert person
        person.client.post("/api/consent", json={})
        for position in range(count):
            person.next()
            person.reply(position, right(running, person, position))
    revoke_links(running.config, ["p-0006"])
    monkeypatch.setattr(service, "_LOOK_EVERY", 0.0)
    assert people[4]
    people[4].next()
    summary = summarise(running.config, running.study.state, without_flagged=False)
    states = {each["name"]: each["state"] for each in summary["participants"]}
    assert states == {
        "p-0001": "never opened",
        "p-0002": "opened",
        "p-0003": "begun",
        "p-0004": "half done",
        "p-0005": "done",
        "p-0006": "revoked",
        "p-0007": "expired",
    }
    left = {each["name"]: each["minutes_left"] for each in summary["participants"]}
    # Of four pairs with three questions of eight seconds.
    assert list(left.values()) == [2, 2, 2, 1, 0, 0, 0]
    # Of 8 views 7 are given; 4 + 4 + 3 + 2 are still to be seen.
    assert summary["progress"]["needed"] == 5


def test_who_finds_nothing_left(start: Callable[..., Running]) -> None:
    running = start(prompts=3, views=1, task={"checks": {"identical": 0, "degraded": 0}})
    take_part(running, running.join())
    assert running.join().next()["finished"]
    summary = summarise(running.config, running.study.state, without_flagged=False)
    assert [each["state"] for each in summary["participants"]] == ["done", "nothing left"]
    assert summary["progress"]["needed"] == 2


def test_who_left_a_pair_open_and_is_left_out_leaves_one_place(
    start: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The two reasons for which a place is free do not add up."""
    running = start(prompts=1, views=1, task={"checks": {"identical": 0, "degraded": 0}})
    first, second = running.join(), running.join()
    first.next()
    now = [state.time.monotonic() + state.LEFT_AFTER + 1]
    monkeypatch.setattr(state.time, "monotonic", lambda: now[0])
    assert second.next()["position"] == 0
    assert views(running) == {1}
    running.study.state.revoke([1])
    assert views(running) == {1}
    running.study.state.revoke([1, 2])
    assert views(running) == {0}
