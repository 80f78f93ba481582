"""One thread that writes, for many who wait: what has gathered goes into one transaction.

A transaction has to wait for the disk, some milliseconds each; with a hundred answers a second one
for each would be the whole server's time. While one is being written the next gather; all of them
are told only when theirs is on the disk.
"""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from sqlmodel import Session

from diffusion4k.preference.study.store import Keeping

__all__ = ["Writer"]

Result = TypeVar("Result")
Work = Callable[[Session], Any]
_AT_ONCE = 200


class Writer:
    """Runs functions of a session, in the order in which they come."""

    def __init__(self, database: Keeping) -> None:
        self._database = database
        self._waiting: queue.SimpleQueue[tuple[Work, Future[Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[Session], Result]) -> "Future[Result]":
        """What `work` returns, once its rows are on the disk; or why they are not."""
        future: Future[Result] = Future()
        self._waiting.put((work, future))
        return future

    def close(self) -> None:
        """Finish what was submitted."""
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (first := self._waiting.get()) is not None:
            batch = [first]
            closing = False
            while len(batch) < _AT_ONCE and not self._waiting.empty():
                following = self._waiting.get()
                if following is None:
                    closing = True
                    break
                batch.append(following)
            self._write(batch)
            if closing:
                return

    def _write(self, batch: list[tuple[Work, "Future[Any]"]]) -> None:
        try:
            with self._database.session() as session:
                results = [work(session) for work, _ in batch]
        except BaseException as error:
            if len(batch) > 1:  # One of them is to blame, and only that one shall be told so.
                for each in batch:
                    self._write([each])
            else:
                batch[0][1].set_exception(error)
        else:
            for (_, future), result in zip(batch, results, strict=True):
                future.set_result(result)
