"""The captioner against a stand-in endpoint that misbehaves: none lost, none paid twice."""

import sqlite3
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from diffusion4k.curation.captions.run import CaptioningStopped, caption
from diffusion4k.curation.captions.settings import CaptionSettings
from diffusion4k.errors import Diffusion4kError
from tests.curation.captions.conftest import make_pictures
from tests.endpoint.server import StandIn, serving

Make = Callable[..., CaptionSettings]
FAULTS = ("429", "500", "503", "late", "cut", "reset", "html")
FLAGS = ("refused", "refusal", "filtered", "empty", "long", "cut-long")


@pytest.mark.parametrize("honours_keys", [False, True])
@pytest.mark.parametrize("number", [60, pytest.param(1000, marks=pytest.mark.slow)])
def test_none_lost_and_none_paid_twice(
    number: int, honours_keys: bool, settings: Make, tmp_path: Path
) -> None:
    pictures = make_pictures(tmp_path / "pictures", number)
    standin = StandIn(
        FAULTS, 3, FLAGS, 2, honours_keys=honours_keys, latency=0.005, lateness=7, seed=number
    )
    with serving(standin) as url:
        wanted = settings(url, concurrency=24, timeout=3.0)
        report = caption(pictures, wanted, tmp_path / "c.sqlite", progress=False)
        assert report.problems == [] and report.flagged == {}
        assert set(report.captions) == set(pictures)
        assert len(set(report.captions.values())) == number
        assert all(text.startswith("A stand-in scene") for text in report.captions.values())
        assert set(standin.answered.values()) == {1} and len(standin.answered) == number
        assert all(standin.shown[fault] for fault in FAULTS)
        # What is in the ledger is not asked again.
        asked = standin.requests
        again = caption(pictures, wanted, tmp_path / "c.sqlite", progress=False)
        assert again.captions == report.captions and standin.requests == asked
    paid = report.spent - report.lost[1]
    assert paid == pytest.approx(standin.billed)
    # Every answer that was lost on its way is on the books (a late one may just have come through).
    lost = sum(standin.shown[fault] for fault in ("cut", "reset", "html"))
    assert lost <= report.lost[0] <= lost + standin.shown["late"]


def test_flagged_to_the_end_are_reported_and_left_out(settings: Make, tmp_path: Path) -> None:
    pictures = make_pictures(tmp_path / "pictures", 6)
    standin = StandIn(flags=("refused", "long"), most_flags=9, seed=4)
    with serving(standin) as url:
        report = caption(pictures, settings(url), tmp_path / "c.sqlite", progress=False)
        assert report.flagged and set(report.flagged.values()) <= {"refused", "long"}
        assert set(report.captions) == set(pictures) - set(report.flagged)
        assert max(standin.flagged.values()) == 3  # as often as `tries`, no more
        asked = standin.requests
        again = caption(pictures, settings(url), tmp_path / "c.sqlite", progress=False)
        assert again.flagged == report.flagged and standin.requests == asked
        kept = settings(url, keep_flagged=True)
        again = caption(pictures, kept, tmp_path / "c.sqlite", progress=False)
        assert set(again.captions) == set(pictures) and standin.requests == asked
        # A long one that is allowed today needs no new answer.
        longer = settings(url, most_words=100)
        again = caption(pictures, longer, tmp_path / "c.sqlite", progress=False)
        assert set(again.flagged.values()) <= {"refused"} and standin.requests == asked


@pytest.mark.parametrize("number", [1, 5])
def test_as_many_at_a_time_as_allowed_and_the_first_alone(
    number: int, settings: Make, tmp_path: Path
) -> None:
    pictures = make_pictures(tmp_path / "pictures", 10)
    standin = StandIn(latency=0.2)
    with serving(standin) as url:
        wanted = settings(url, concurrency=number)
        caption(pictures, wanted, tmp_path / "c.sqlite", progress=False)
    assert standin.answered.total() == 10
    assert max(standin.at_once) <= number and (max(standin.at_once) > 1) == (number > 1)
    assert standin.at_once[0] == standin.at_once[1] == 1


def test_the_same_bytes_are_paid_once_and_other_settings_anew(
    settings: Make, tmp_path: Path
) -> None:
    pictures = make_pictures(tmp_path / "pictures", 2)
    copy = tmp_path / "pictures" / "copy.png"
    copy.write_bytes(pictures[0].read_bytes())
    standin = StandIn()
    with serving(standin) as url:
        report = caption([*pictures, copy], settings(url), tmp_path / "c.sqlite", progress=False)
        assert report.captions[copy] == report.captions[pictures[0]]
        assert standin.requests == 2
        other = settings(url, image={"longest": 64})
        caption(pictures, other, tmp_path / "c.sqlite", progress=False)
        assert standin.requests == 4
        caption(pictures, settings(url, prompt="Say."), tmp_path / "c.sqlite", progress=False)
        assert standin.requests == 6


def test_the_budget_is_never_exceeded_and_a_higher_one_goes_on(
    settings: Make, tmp_path: Path
) -> None:
    pictures = make_pictures(tmp_path / "pictures", 40)
    # It counts more tokens than GPT-4o would, which only its first answer tells.
    standin = StandIn(FAULTS, 1, FLAGS, 1, latency=0.005, lateness=6, tokens=2500)
    with serving(standin) as url:
        # Each rung of the ladder ends where another first request might break it.
        for budget in (0.05, 0.05, 0.056, 0.06, 0.064, 0.1):
            wanted = settings(url, concurrency=16, timeout=2.5, budget=budget)
            with pytest.raises(CaptioningStopped, match="a higher budget continues") as stopped:
                caption(pictures, wanted, tmp_path / "c.sqlite", progress=False)
            report = stopped.value.report
            assert standin.billed <= report.spent + 1e-9 and report.spent <= budget
            assert report.spent > budget - 0.015
            # How many of the paid answers are captions depends on which pictures came first.
            assert len(report.captions) == len(standin.answered)
        more = settings(url, concurrency=16, timeout=2.5, budget=5.0)
        report = caption(pictures, more, tmp_path / "c.sqlite", progress=False)
    assert len(report.captions) == 40
    assert set(standin.answered.values()) == {1}


@pytest.mark.parametrize(
    ("standin", "changes", "message", "requests"),
    [
        (StandIn(), {"model": "gpt-5o"}, "there is no model 'gpt-5o'", 1),
        (StandIn(refuse_all=403), {}, "not permitted", 1),
        (StandIn(refuse_all=402), {}, "no money left", 1),
        (StandIn(refuse_all=500), {"retries": 2}, "HTTP 500", 3),
        (StandIn(refuse_all=400, message="bad image"), {}, "10 pictures in a row", 10),
        (StandIn(("429",), 99, retry_after="3600"), {}, "asks to wait for 3600 s", 1),
    ],
)
def test_what_no_picture_can_help_stops_the_run(
    standin: StandIn,
    changes: dict[str, object],
    message: str,
    requests: int,
    settings: Make,
    tmp_path: Path,
) -> None:
    pictures = make_pictures(tmp_path / "pictures", 30)
    with serving(standin) as url, pytest.raises(CaptioningStopped, match=message) as stopped:
        caption(pictures, settings(url, **changes), tmp_path / "c.sqlite", progress=False)
    assert "\n" not in str(stopped.value) and stopped.value.exit_code == 1
    assert standin.requests == requests
    assert stopped.value.report.spent == 0


def test_retry_after_is_obeyed(settings: Make, tmp_path: Path) -> None:
    pictures = make_pictures(tmp_path / "pictures", 4)
    standin = StandIn(("429",), 2, retry_after="0.3")
    with serving(standin) as url:
        caption(pictures, settings(url, concurrency=1), tmp_path / "c.sqlite", progress=False)
    assert standin.shown["429"] > 1
    gaps = [after - before for before, after in pairwise(standin.came)]
    assert sum(gap > 0.3 for gap in gaps) >= standin.shown["429"]


def test_endpoint_down(settings: Make, tmp_path: Path) -> None:
    pictures = make_pictures(tmp_path / "pictures", 3)
    with serving(StandIn()) as url:
        pass
    with pytest.raises(CaptioningStopped, match=r"127.0.0.1:\d+/v1: no connection") as stopped:
        caption(pictures, settings(url), tmp_path / "c.sqlite", progress=False)
    assert stopped.value.report.lost == (0, 0)


def test_bad_pictures_are_named_and_the_others_go_on(settings: Make, tmp_path: Path) -> None:
    pictures = make_pictures(tmp_path / "pictures", 4)
    whole = pictures[0].read_bytes()
    pictures[0].write_bytes(whole[:-40])  # its header is whole
    pictures[1].write_bytes(b"")
    pictures[2].write_text("no picture")
    pictures.append(copy := tmp_path / "pictures" / "copy.png")
    copy.write_text("no picture")
    missing = tmp_path / "pictures" / "missing.png"
    with serving(StandIn()) as url:
        report = caption([*pictures, missing], settings(url), tmp_path / "c.sqlite", progress=False)
    assert set(report.captions) == {pictures[3]}
    reasons = {problem.where: problem.reason for problem in report.problems}
    assert set(reasons) == {str(path) for path in [*pictures[:3], copy, missing]}
    assert reasons[str(copy)] == reasons[str(pictures[2])]
    assert "damaged" in reasons[str(pictures[0])] and "0 bytes" in reasons[str(pictures[1])]


def test_an_endpoint_that_does_not_count_tokens_costs_the_most_possible(
    settings: Make, tmp_path: Path
) -> None:
    pictures = make_pictures(tmp_path / "pictures", 2)
    with serving(StandIn(omit_usage=True)) as url:
        wanted = settings(url, input_price=2.0, output_price=4.0)
        report = caption(pictures, wanted, tmp_path / "c.sqlite", progress=False)
    # 96 x 96: 4 tiles; the prompt's bytes, and 16 for the message's frame.
    tokens = 85 + 4 * 170 + len(wanted.prompt.encode()) + 16
    assert report.spent == pytest.approx(2 * (tokens * 2 + 200 * 4) / 1e6)


def test_the_ledger_says_what_was_paid_for_what(settings: Make, tmp_path: Path) -> None:
    [picture] = make_pictures(tmp_path / "pictures", 1)
    with serving(standin := StandIn()) as url:
        report = caption([picture], settings(url), tmp_path / "c.sqlite", progress=False)
    with sqlite3.connect(tmp_path / "c.sqlite") as connection:
        connection.row_factory = sqlite3.Row
        [row] = connection.execute(
            "SELECT * FROM captions JOIN prompts ON prompt = hash JOIN requests ON request = id"
        )
    assert row["picture"] and len(row["picture"]) == 64
    assert " ".join(row[5].split()) == report.captions[picture]
    assert (row["input_tokens"], row["output_tokens"]) == (900, 12)
    assert (row["state"], row["request_id"], row["endpoint"]) == ("paid", "req-1", url)
    assert row["cost"] == pytest.approx(standin.cost)
    assert standin.keys == [row["key"]]


def test_two_runs_with_one_ledger(settings: Make, tmp_path: Path) -> None:
    from diffusion4k.curation.captions.ledger import CaptionLedger

    pictures = make_pictures(tmp_path / "pictures", 1)
    with CaptionLedger(tmp_path / "c.sqlite"), pytest.raises(Diffusion4kError, match="another run"):
        caption(pictures, settings("http://127.0.0.1:9"), tmp_path / "c.sqlite", progress=False)


def test_a_damaged_ledger(settings: Make, tmp_path: Path) -> None:
    pictures = make_pictures(tmp_path / "pictures", 1)
    (tmp_path / "c.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(Diffusion4kError, match=r"c\.sqlite: cannot be read or written .*database"):
        caption(pictures, settings("http://127.0.0.1:9"), tmp_path / "c.sqlite", progress=False)
