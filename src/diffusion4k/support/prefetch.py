"""Work ahead of its reader, in threads."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["prefetch"]

Item = TypeVar("Item")
Result = TypeVar("Result")


def prefetch(
    function: Callable[[Item], Result], items: Iterable[Item], *, workers: int
) -> Iterator[Result]:
    """`map(function, items)` with `workers` threads ahead of the reader, in order.

    At most `workers + 1` results wait at a time, as each may be a whole photograph.
    """
    waiting: deque[Future[Result]] = deque()
    ours: set[int] = set()
    pool = ThreadPoolExecutor(workers, initializer=lambda: ours.add(threading.get_ident()))
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        # A forgotten generator may be collected in a thread of its pool, which has no end then.
        pool.shutdown(wait=threading.get_ident() not in ours, cancel_futures=True)
