"""The dashboard's numbers, on simulated studies whose truth is known."""

import math
from collections.abc import Iterator
from pathlib import Path
from random import Random

import krippendorff
import numpy as np
import pytest

from diffusion4k.preference.answers import read_answers
from diffusion4k.preference.study.export import export
from diffusion4k.preference.study.summary import summarise
from tests.preference.study.fake import Person, Running, make_images, make_study, write_study

QUESTIONS = ("visual_aesthetics", "prompt_adherence", "fine_details")
NONE = {"checks": {"identical": 0, "degraded": 0}}


@pytest.fixture
def start(tmp_path: Path) -> Iterator:
    running: list[Running] = []

    def begin(**settings: object) -> Running:
        running.append(Running(make_study(tmp_path, participants={"open": True}, **settings)))
        return running[-1]

    yield begin
    for each in running:
        each.close()


def answer_all(running: Running, person: Person, choose, seconds: float = 3.0) -> None:
    """`choose(models left and right, question)` for everything that is shown."""
    known = running.study.state.people[int(person.me["participant"][2:])]
    while not (found := person.next()).get("finished"):
        shown = known.shown[found["position"]]
        models = shown.unit.models[::-1] if shown.swapped else shown.unit.models
        shown.since = None  # the server's own clock would say that all took milliseconds
        choices = {question: choose(models, question) for question in QUESTIONS}
        person.reply(found["position"], choices, seconds=seconds)


def likes(model: str):
    return lambda models, _: "left" if models[0] == model else "right"


def test_shares_are_of_the_models_whatever_their_sides(start) -> None:
    running = start(prompts=6, models=3, task={"tie": True} | NONE)
    order = ["model-2", "model-0", "model-1"]

    def choose(models, question):
        if question == "prompt_adherence":
            return "tie"
        return "left" if order.index(models[0]) < order.index(models[1]) else "right"

    for _ in range(4):
        answer_all(running, running.join(), choose)
    wins = summarise(running.config, running.study.state, without_flagged=False)["wins"]
    assert len(wins) == 3 * 3
    for found in wins:
        assert found["wins_a"] + found["wins_b"] + found["ties"] == 6 * 4
        if found["question"] == "prompt_adherence":
            assert (found["share"], found["ties"]) == (0.5, 24)
        else:
            first = order.index(found["model_a"]) < order.index(found["model_b"])
            assert found["share"] == (1.0 if first else 0.0)
        assert found["low"] <= found["share"] <= found["high"]


def test_agreement_equals_an_independent_route(start, tmp_path: Path) -> None:
    running = start(prompts=12, task={"tie": True} | NONE)
    random = Random(0)
    for _ in range(5):
        answer_all(
            running,
            running.join(),
            lambda models, q: random.choices(
                ["tie", *("left", "right")[:: 1 if models[0] == "model-0" else -1]], [1, 5, 2]
            )[0],
        )
    answers = running.study
    found = summarise(running.config, answers.state, without_flagged=False)["agreement"]
    export(running.config, answers.state, tmp_path / "answers.csv")
    rows = read_answers(tmp_path / "answers.csv")
    assert len(rows) == 12 * 5 * 3
    for each in found:
        mine = [row for row in rows if row.question == each["question"]]
        raters = sorted({row.participant for row in mine})
        prompts = sorted({row.prompt_id for row in mine})
        table = np.full((len(raters), len(prompts)), np.nan)
        for row in mine:
            value = ["model_a", "model_b", "tie"].index(row.choice)
            table[raters.index(row.participant), prompts.index(row.prompt_id)] = value
        alpha = krippendorff.alpha(table, level_of_measurement="nominal")
        assert each["alpha"] == pytest.approx(alpha, abs=1e-9)
        pairs = [
            table[i, u] == table[j, u]
            for u in range(len(prompts))
            for i in range(len(raters))
            for j in range(i)
        ]
        assert (each["same"], each["pairs"]) == (pytest.approx(np.mean(pairs)), len(pairs))


def test_whom_not_to_trust(start) -> None:
    running = start(prompts=30, task={"tie": True})
    people = [running.join() for _ in range(4)]
    better = likes("model-1")

    def careful(models, question):
        if models[0] == models[1]:
            return "tie"
        if models[0].endswith("(degraded)"):
            return "right"
        return "left" if models[1].endswith("(degraded)") else better(models, question)

    answer_all(running, people[0], careful)
    answer_all(running, people[1], careful, seconds=0.2)
    answer_all(running, people[2], lambda *_: "left")
    random = Random(3)
    answer_all(running, people[3], lambda *_: random.choice(["left", "right"]))
    summary = summarise(running.config, running.study.state, without_flagged=False)
    flags = [person["flags"] for person in summary["participants"]]
    assert flags[0] == []
    assert flags[1] == ["fast: 0.2 s in the median"]
    assert any(flag == "100% of choices left" for flag in flags[2])
    assert any("attention checks" in flag for flag in flags[3])
    assert [person["seconds"] for person in summary["participants"]] == [3.0, 0.2, 3.0, 3.0]
    # Checks are no preferences, and who is flagged can be left out.
    assert {win["wins_a"] + win["wins_b"] for win in summary["wins"]} == {4 * 30}
    trusted = summarise(running.config, running.study.state, without_flagged=True)
    assert {win["share"] for win in trusted["wins"]} == {0.0}
    assert {win["wins_b"] for win in trusted["wins"]} == {30}


def test_raters_not_to_trust(tmp_path: Path) -> None:
    images = make_images(tmp_path / "images", 12, 0)
    content = {"name": "patches", "title": "Patches", "folder": str(tmp_path / "kept")}
    content |= {"participants": {"open": True}}
    content |= {"task": {"kind": "rating", "images": {"wlf": str(images)}, "patches": None}}
    running = Running(write_study(tmp_path, content))
    try:
        raters = (lambda n: n % 4 + 3, 3.0), (lambda n: n % 4 + 3, 0.2), (lambda _: 7, 3.0)
        for rate, seconds in raters:
            person = running.join()
            known = running.study.state.people[int(person.me["participant"][2:])]
            while not (found := person.next()).get("finished"):
                position = found["position"]
                known.shown[position].since = None
                person.reply(position, {"rating": str(rate(position))}, seconds=seconds)
        summary = summarise(running.config, running.study.state, without_flagged=True)
    finally:
        running.close()
    flags = [person["flags"] for person in summary["participants"]]
    assert flags == [[], ["fast: 0.2 s in the median"], ["rated everything 7"]]
    assert summary["choices"] == [{"model": "wlf", "choices": dict.fromkeys("3456", 3)}]


def test_before_anyone_has_answered(start) -> None:
    running = start(views=3)
    running.join()
    summary = summarise(running.config, running.study.state, without_flagged=False)
    assert summary["wins"] == summary["agreement"] == []
    (person,) = summary["participants"]
    assert (person["state"], person["done"], person["seconds"]) == ("begun", 0, None)
    assert person["minutes_left"] == 3  # 6 presentations of three questions of 8 seconds
    assert summary["progress"] == {
        "participants": 1,
        "begun": 0,
        "finished": 0,
        "left_out": 0,
        "answered": 0,
        "units": 3,
        "views": {"least": 0, "most": 0},
        "wanted": 3,
        "needed": None,
    }
    assert not math.isnan(summary["progress"]["answered"])


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_exports_say_what_was_meant(start, tmp_path: Path, kind: str) -> None:
    running = start(prompts=2, task={"checks": {"identical": 1, "degraded": 1}})
    answer_all(running, running.join(), lambda models, _: "left")
    path = tmp_path / f"answers.{kind}"
    assert export(running.config, running.study.state, path) == 4 * 3
    state = running.study.state.people[1]
    for row in read_answers(path):
        assert row.first == (row.model_a if row.choice == "model_a" else row.model_b)
        assert row.pair_seconds == 3.0
        assert row.study == "fake"
    assert {row.check for row in read_answers(path)} == {"", "identical", "degraded"}
    assert len(state.shown) == 4
