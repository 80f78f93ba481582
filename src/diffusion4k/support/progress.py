"""How far long work is, with rate and time left: a bar on a terminal, else now and then a line."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
)

__all__ = ["SECONDS_BETWEEN_LINES", "Counter", "track"]

Item = TypeVar("Item")

SECONDS_BETWEEN_LINES = 10.0
"""Where there is no terminal for a bar."""


class Counter:
    """Counts what is done of `total`, beginning with `done`; use as a context manager.

    Without a terminal it says nothing of work of less than ten seconds.

    Args:
        each, unit: the rate is shown in these, as `each` images a step.
    """

    def __init__(
        self,
        what: str,
        total: int,
        *,
        done: int = 0,
        each: int = 1,
        unit: str = "",
        shown: bool = True,
    ) -> None:
        self._what, self._total, self._each, self._unit = what, total, each, unit
        self._done = self._first = done
        self._start = self._spoken = time.monotonic()
        console = Console(stderr=True)
        self._lines = shown and not console.is_terminal
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            # Its own rate and time left forget what is older than 30 s, as a step at 4K may be.
            TextColumn("{task.fields[told]}"),
            console=console,
            disable=not (shown and console.is_terminal),
        )
        self._task = self._bar.add_task(what, total=total, completed=done, told="")

    def __enter__(self) -> "Counter":
        self._start = self._spoken = time.monotonic()
        if not self._bar.disable:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if not self._bar.disable:
            self._bar.stop()

    @property
    def rate(self) -> float:
        """Units a second since the beginning."""
        elapsed = max(time.monotonic() - self._start, 1e-9)
        return self._each * (self._done - self._first) / elapsed

    def say(self, text: str) -> None:
        """A line of its own."""
        if self._lines:
            print(text, file=sys.stderr, flush=True)
        elif not self._bar.disable:
            self._bar.console.print(text, markup=False, highlight=False)

    def advance(self, note: str = "") -> None:
        """One more is done; `note` is shown behind it."""
        self._done += 1
        if not self._bar.disable:
            told = escape(self._told(note))
            self._bar.update(self._task, completed=self._done, told=told)
        elif self._lines:
            now, is_last = time.monotonic(), self._done == self._total
            due = now - self._spoken >= SECONDS_BETWEEN_LINES
            if due or (is_last and self._spoken > self._start):
                self._spoken = now
                self.say(f"{self._what}: {self._done}/{self._total}, {self._told(note)}")

    def _told(self, note: str) -> str:
        """Rate, time left, note."""
        rate = self.rate
        number = f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"
        left = _clock(max(0, self._total - self._done) * self._each / rate)
        unit = f" {self._unit}/s" if self._unit else "/s"
        return f"{number}{unit}, {left} left" + (f", {note}" if note else "")


def track(items: Iterable[Item], total: int, what: str, *, shown: bool = True) -> Iterator[Item]:
    """The items themselves; what was asked for last counts as done when the next is asked for."""
    with Counter(what, total, shown=shown and total > 0) as counter:
        for item in items:
            yield item
            counter.advance()


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"
