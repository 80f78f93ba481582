"""A ledger: an SQLite file in which every paid answer stands before the next step.

It is what makes sure that nothing is paid twice. The only loss that cannot be avoided are requests
under way when the process is killed, at most as many as are sent at a time: the endpoint may have
worked on them, and nobody noted the answer. They are sent again with the same Idempotency-Key, so
that an endpoint that honours it bills them once; the budget takes them for billed in any case.

What is asked, and so the table of answers, is the caller's. Every ledger has the tables

    prompts     hash TEXT, text TEXT
    files       path BLOB, size INTEGER, changed INTEGER (ns), hash TEXT: only saves time
    requests    see `endpoint.book`
"""

import contextlib
import hashlib
import os
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from diffusion4k.endpoint.spending import Spending
from diffusion4k.errors import Diffusion4kError
from diffusion4k.support.hashes import RememberedHashes, Stamp
from diffusion4k.support.lock import hold, opened_lock

__all__ = ["LedgerFile", "scratch_copy", "text_hash"]

Self = TypeVar("Self", bound="LedgerFile")
_SCHEMA = """
CREATE TABLE IF NOT EXISTS prompts (hash TEXT PRIMARY KEY, text TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS files (
    path BLOB PRIMARY KEY, size INTEGER NOT NULL, changed INTEGER NOT NULL, hash TEXT NOT NULL
);
"""


class LedgerFile:
    """An SQLite file held by one process at a time, as `with Ledger(path) as ledger`.

    Arguments:
        schema: the caller's tables, as `CREATE TABLE IF NOT EXISTS ...;`.
        doing: what a run with it does, for the message that another one holds it.

    Raises:
        Diffusion4kError: another process holds it, or it cannot be read or written.
    """

    def __init__(self, path: str | Path, schema: str, doing: str) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = opened_lock(self.path.with_name(f".{self.path.name}.lock"))
        try:
            hold(self._lock, f"{self.path}: another run is {doing} with it: wait for it to end")
            with self.told():
                self.connection = sqlite3.connect(self.path)
                self.connection.execute("PRAGMA journal_mode = WAL")
                self.connection.execute("PRAGMA synchronous = NORMAL")
                self.book = Spending(self.connection)
                self.connection.executescript(_SCHEMA + schema)
                self.book.lose_killed(self._still_awaited())
        except BaseException:
            self._lock.close()
            raise

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()
        self._lock.close()

    def _still_awaited(self) -> Iterable[int]:
        """Requests whose answer may still come although the run that sent them is gone."""
        return ()

    @contextmanager
    def told(self) -> Iterator[None]:
        """Turn what SQLite refuses into one line that names the file."""
        try:
            yield
        except sqlite3.Error as error:
            raise Diffusion4kError(
                f"{self.path}: cannot be read or written ({error}): make room, or move the file "
                "away if it is damaged; finished work is kept, the same command goes on"
            ) from error

    @contextmanager
    def durable(self) -> Iterator[None]:
        """A transaction that survives a power cut; others survive only the end of the process."""
        self.connection.execute("PRAGMA synchronous = FULL")
        try:
            with self.connection:
                yield
        finally:
            self.connection.execute("PRAGMA synchronous = NORMAL")

    def remember_prompt(self, text: str) -> None:
        """Keep the words behind a prompt's hash."""
        with self.connection:
            self.connection.execute(
                "INSERT OR IGNORE INTO prompts VALUES (?, ?)", (text_hash(text), text)
            )

    def hash_of(self, path: Path) -> str:
        """SHA-256 of a picture's bytes, remembered by path, size and time of change."""
        return _LedgerHashes(self.connection).sha256(path)


class _LedgerHashes(RememberedHashes):
    """Hashes that are remembered in the table `files`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def _find(self, path: Path, stamp: Stamp) -> str | None:
        query = "SELECT size, changed, hash FROM files WHERE path = ?"
        row = self._connection.execute(query, (os.fsencode(path),)).fetchone()
        return str(row[2]) if row and row[:2] == stamp else None

    def _keep(self, path: Path, stamp: Stamp, digest: str) -> None:
        self._connection.execute(
            "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", (os.fsencode(path), *stamp, digest)
        )


@contextmanager
def scratch_copy(ledger: Path) -> Iterator[Path]:
    """A path for a ledger to look things up in, with what `ledger` has: another may hold it."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / ledger.name
        if ledger.is_file():
            with (
                contextlib.closing(sqlite3.connect(ledger)) as known,
                contextlib.closing(sqlite3.connect(path)) as copy,
            ):
                known.backup(copy)
        yield path


def text_hash(text: str) -> str:
    """SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()
