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
from typing import Any, TypeVar

from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, SQLModel

from diffusion4k.preference.study.store import Keeping
from diffusion4k.preference.study.tables import TABLES

__all__ = ["Writer"]

Result = TypeVar("Result")
_AT_ONCE = 200


class _Job:
    """A function to run, or rows to add, and who waits for it."""

    def __init__(self, work: Callable[[Session], Any] | None, rows: Sequence[SQLModel]) -> None:
        self.work, self.rows = work, rows
        self.future: Future[Any] = Future()


class Writer:
    """Writes what comes, in the order in which it comes."""

    def __init__(self, database: Keeping) -> None:
        self._database = database
        self._waiting: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[Session], Result]) -> "Future[Result]":
        """What `work` returns, once its rows are on the disk; or why they are not."""
        return self._wait_for(_Job(work, ()))

    def add(self, rows: Sequence[SQLModel]) -> "Future[None]":
        """The same for rows; one that is there already, by the table's own rules, is left out."""
        return self._wait_for(_Job(None, rows))

    def close(self) -> None:
        """Finish what was submitted."""
        self._waiting.put(None)
        self._thread.join()

    def _wait_for(self, job: _Job) -> "Future[Any]":
        self._waiting.put(job)
        return job.future

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
                results = [job.work(session) if job.work else None for job in batch]
                session.flush()
                _add(session, [row for job in batch for row in job.rows])
        except BaseException as error:
            if len(batch) > 1:  # One of them is to blame, and only that one gets the error.
                for each in batch:
                    self._write([each])
            else:
                batch[0].future.set_exception(error)
        else:
            for job, result in zip(batch, results, strict=True):
                job.future.set_result(result)


def _add(session: Session, rows: list[SQLModel]) -> None:
    """One statement for each table: every one costs a wait for Python's lock."""
    connection = session.connection()
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    by_table: dict[type[SQLModel], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        by_table[type(row)].append(row.model_dump(exclude={"id"}))
    for table in TABLES:
        if table in by_table:
            connection.execute(insert(table).on_conflict_do_nothing(), by_table[table])
