"""What is told of long work, on a terminal and elsewhere, by a clock that is set by hand."""

from collections.abc import Callable
from itertools import count

import pytest
from rich.console import Console

from diffusion4k.support import progress
from diffusion4k.support.progress import Counter, track


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing in the environment says what the terminal is."""
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")


@pytest.fixture
def wait(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Lets so many seconds go by."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return lambda seconds: now.__setitem__(0, now[0] + seconds)


def lines_of(capsys: pytest.CaptureFixture[str]) -> list[str]:
    out, err = capsys.readouterr()
    assert out == ""
    return err.splitlines()


def test_lines_now_and_then_with_rate_and_time_left(
    wait: Callable[[float], None], capsys: pytest.CaptureFixture[str]
) -> None:
    with Counter("pictures", 8) as counter:
        for number in range(8):
            wait(4)
            counter.advance(f"picture [b]{number}")
    assert lines_of(capsys) == [
        "pictures: 3/8, 0.25/s, 0:00:20 left, picture [b]2",
        "pictures: 6/8, 0.25/s, 0:00:08 left, picture [b]5",
        "pictures: 8/8, 0.25/s, 0:00:00 left, picture [b]7",
    ]


def test_the_rate_is_of_this_run_and_in_its_unit(
    wait: Callable[[float], None], capsys: pytest.CaptureFixture[str]
) -> None:
    with Counter("steps", 1000, done=900, each=16, unit="images") as counter:
        for _ in range(2):
            wait(40)
            counter.advance()
        assert counter.rate == pytest.approx(16 / 40)
    assert lines_of(capsys) == [
        "steps: 901/1000, 0.4 images/s, 1:06:00 left",
        "steps: 902/1000, 0.4 images/s, 1:05:20 left",
    ]


def test_steps_that_take_long_and_more_than_was_expected(
    wait: Callable[[float], None], capsys: pytest.CaptureFixture[str]
) -> None:
    with Counter("answers", 2) as counter:
        for _ in range(3):
            wait(100)
            counter.advance()
    with Counter("files", 100_000) as counter:
        for _ in range(50_000):
            wait(0.0004)
            counter.advance()
    assert lines_of(capsys) == [
        "answers: 1/2, 0.01/s, 0:01:40 left",
        "answers: 2/2, 0.01/s, 0:00:00 left",
        "answers: 3/2, 0.01/s, 0:00:00 left",
        "files: 25000/100000, 2,500/s, 0:00:30 left",
        "files: 50000/100000, 2,500/s, 0:00:20 left",
    ]


def test_short_and_hidden_work_says_nothing(
    wait: Callable[[float], None], capsys: pytest.CaptureFixture[str]
) -> None:
    assert list(track(range(3), 3, "short")) == [0, 1, 2]
    with Counter("hidden", 2, shown=False) as counter:
        wait(60)
        counter.advance()
        counter.say("hidden, too")
    assert lines_of(capsys) == []


def test_an_item_counts_when_the_next_is_asked_for(
    wait: Callable[[float], None], capsys: pytest.CaptureFixture[str]
) -> None:
    items = track(count(), 5, "items")
    next(items)
    wait(30)
    assert lines_of(capsys) == []
    next(items)
    assert lines_of(capsys) == ["items: 1/5, 0.0333/s, 0:02:00 left"]


def test_a_bar_on_a_terminal(
    wait: Callable[[float], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(
        progress, "Console", lambda **options: Console(force_terminal=True, width=120, **options)
    )
    with Counter("pictures", 2, unit="images") as counter:
        wait(40)
        counter.advance()
        counter.say("a [b] line between")
        counter.advance("no [markup]")
    told = capsys.readouterr().err
    assert "2/2" in told and "0.05 images/s, 0:00:00 left" in told
    assert "a [b] line between" in told and "no [markup]" in told


def test_work_that_fails_leaves_the_terminal_as_it_was(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        progress, "Console", lambda **options: Console(force_terminal=True, **options)
    )
    hide, show = "\x1b[?25l", "\x1b[?25h"
    with pytest.raises(ValueError, match="no more"), Counter("pictures", 2):
        raise ValueError("no more")
    told = capsys.readouterr().err
    assert told.rfind(show) > told.rfind(hide) >= 0
