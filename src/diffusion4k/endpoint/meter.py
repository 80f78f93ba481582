"""The running total: questions done and dollars spent, as a bar or now and then a line."""

import sys
import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

__all__ = ["Meter"]

_SECONDS_BETWEEN_LINES = 10.0


class Meter:
    """Shows how far the answers are; `what` they are called, `spent` tells the dollars so far."""

    def __init__(self, what: str, total: int, spent: Callable[[], float], *, shown: bool) -> None:
        self._what, self._total, self._spent = what, total, spent
        self._done = 0
        self._start = self._spoken = time.monotonic()
        console = Console(stderr=True)
        self._lines = shown and not console.is_terminal
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[cost]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not (shown and console.is_terminal),
        )
        self._task = self._bar.add_task(what, total=total, cost="")

    def __enter__(self) -> "Meter":
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def say(self, text: str) -> None:
        """A line of its own."""
        if self._lines:
            print(text, file=sys.stderr, flush=True)
        elif not self._bar.disable:
            self._bar.console.print(text, highlight=False)

    def advance(self) -> None:
        """One more is done."""
        self._done += 1
        cost = f"${self._spent():.4f}"
        self._bar.update(self._task, completed=self._done, cost=cost)
        now = time.monotonic()
        if self._lines and now - self._spoken >= _SECONDS_BETWEEN_LINES:
            self._spoken = now
            rate = self._done / (now - self._start)
            left = (self._total - self._done) / rate
            self.say(
                f"{self._what}: {self._done}/{self._total}, {rate:.2f}/s, {left:.0f} s left, {cost}"
            )
