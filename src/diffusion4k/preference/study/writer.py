"""One thread that writes, for many who wait: what has gathered goes into one transaction.

A transaction has to wait for the disk, some milliseconds each; with a hundred answers a second one
for each would be the whole server's time. While one is being written the next gather; all of them
are answered only when theirs is on the disk.
"""

import queue
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, SQLModel

from diffusion4k.preference.study.store import Keeping
from diffusion4k.preference.study.tables import TABLES

__all__ = ["Writer"]

Result = TypeVar("Result")
_AT_ONCE = 200


@dataclass(frozen=True)
class _Job:
    """What to do in a transaction, and how those who wait for it learn what came of it."""

    run: Callable[[Session], Callable[[], None]]
    """Does the work; what it returns reports the result, once that is on the disk."""
    rows: Sequence[SQLModel]
    fail: Callable[[BaseException], None]


class Writer:
    """Writes what comes, in the order in which it comes."""

    def __init__(self, database: Keeping) -> None:
        self._database = database
        self._waiting: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[Session], Result]) -> "Future[Result]":
        """What `work` returns, once its rows are on the disk; or why they are not."""
        future: Future[Result] = Future()

        def run(session: Session) -> Callable[[], None]:
            return partial(future.set_result, work(session))

        self._waiting.put(_Job(run, (), future.set_exception))
        return future

    def add(self, rows: Sequence[SQLModel]) -> "Future[None]":
        """The same for rows; one that is there already, by the table's own rules, is left out."""
        future: Future[None] = Future()
        self._waiting.put(
            _Job(lambda _: partial(future.set_result, None), rows, future.set_exception)
        )
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

    def _write(self, batch: list[_Job]) -> None:
        try:
            with self._database.session() as session:
                reports = [job.run(session) for job in batch]
                session.flush()
                _add(session, [row for job in batch for row in job.rows])
        except BaseException as error:
            if len(batch) > 1:  # One of them is to blame, and only that one gets the error.
                for each in batch:
                    self._write([each])
            else:
                batch[0].fail(error)
        else:
            for report in reports:
                report()


def _add(session: Session, rows: list[SQLModel]) -> None:
    """One statement for each table: every one costs a wait for Python's lock."""
    connection = session.connection()
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    by_table: dict[type[SQLModel], list[dict[str, object]]] = defaultdict(list)
    for row in rows:
        by_table[type(row)].append(row.model_dump(exclude={"id"}))
    for table in TABLES:
        if table in by_table:
            connection.execute(insert(table).on_conflict_do_nothing(), by_table[table])
