"""Progress of long work on files: a bar on a terminal, now and then a line elsewhere."""

import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

__all__ = ["prefetch", "track"]

Item = TypeVar("Item")
Result = TypeVar("Result")

_SECONDS_BETWEEN_LINES = 10.0


def track(items: Iterable[Item], total: int, what: str, *, shown: bool = True) -> Iterator[Item]:
    """The items themselves; what was asked for last counts as done when the next is asked for."""
    console = Console(stderr=True)
    if not shown or total == 0:
        yield from items
    elif console.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        with Progress(*columns, _Rate(), TimeRemainingColumn(), console=console) as bars:
            task = bars.add_task(what, total=total)
            for item in items:
                yield item
                bars.advance(task)
    else:
        yield from _lines(items, total, what)


def prefetch(
    function: Callable[[Item], Result], items: Iterable[Item], *, workers: int
) -> Iterator[Result]:
    """`map(function, items)` with `workers` threads ahead of the reader, in order.

    At most `workers + 1` results wait at a time, as each may be a whole photograph.
    """
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _lines(items: Iterable[Item], total: int, what: str) -> Iterator[Item]:
    start = spoken = time.monotonic()
    for done, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - spoken >= _SECONDS_BETWEEN_LINES or (done == total and spoken > start):
            spoken = now
            rate = done / (now - start)
            left = (total - done) / rate
            line = f"{what}: {done}/{total}, {rate:.2f}/s, {left:.0f} s left"
            print(line, file=sys.stderr, flush=True)


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.2f}/s" if task.speed else "-/s")
