"""A ledger: an SQLite file in which every paid answer stands before the next step.

It is what makes sure that nothing is paid twice. The only loss that cannot be avoided are requests
under way when the process is killed, at most as many as are sent at a time: the endpoint may have
worked on them, and nobody noted the answer. They are sent again with the same Idempotency-Key, so
that an endpoint that honours it bills them once; the budget takes them for billed in any case.

Every ledger has the tables

    prompts     hash TEXT, text TEXT
    files       path BLOB, size INTEGER, changed INTEGER (ns), hash TEXT: only saves time
    requests    see `endpoint.spending`

and one of answers, whose name and whose columns of what is asked are the caller's:

        attempt INTEGER   0, 1, ...: after an answer that cannot be used it is asked again
        text TEXT         as answered, cleaned (`endpoint.answer_text`)
        refusal, finish TEXT         as the endpoint gave them
        most_tokens INTEGER          the greatest number of input tokens that was expected
        input_tokens, output_tokens INTEGER; cost REAL (dollars)
        request INTEGER   the row of `requests`
        request_id TEXT   the endpoint's own
        endpoint TEXT     its address
        created REAL      unix time
"""

import contextlib
import hashlib
import os
import sqlite3
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, TypeVar

from diffusion4k.endpoint.answer_text import clean_text
from diffusion4k.endpoint.client import EndpointAnswer
from diffusion4k.endpoint.sender import Payment
from diffusion4k.endpoint.spending import Spending
from diffusion4k.errors import Diffusion4kError
from diffusion4k.support.hashes import RememberedHashes, Stamp
from diffusion4k.support.lock import acquire

__all__ = [
    "AnswerLedger",
    "AnswerTable",
    "LedgerFile",
    "StoredAnswer",
    "scratch_copy",
    "text_hash",
]

Self = TypeVar("Self", bound="LedgerFile")
_SCHEMA = """
CREATE TABLE IF NOT EXISTS prompts (hash TEXT PRIMARY KEY, text TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS files (
    path BLOB PRIMARY KEY, size INTEGER NOT NULL, changed INTEGER NOT NULL, hash TEXT NOT NULL
);
"""


class LedgerFile:
    """An SQLite file held by one process at a time, as `with Ledger(path) as ledger`.

    Args:
        schema: the caller's tables, as `CREATE TABLE IF NOT EXISTS ...;`.
        doing: what a run with it does, for the message that another one holds it.

    Raises:
        Diffusion4kError: another process holds it, or it cannot be read or written.
    """

    def __init__(self, path: str | Path, schema: str, doing: str) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lock = acquire(self.path.with_name(f".{self.path.name}.lock"))
        if lock is None:
            raise Diffusion4kError(
                f"{self.path}: another run is {doing} with it: wait for it to end"
            )
        self._lock = lock
        try:
            with self.translating_errors():
                self.connection = sqlite3.connect(self.path)
                self.connection.execute("PRAGMA journal_mode = WAL")
                self.connection.execute("PRAGMA synchronous = NORMAL")
                self.spending = Spending(self.connection)
                self.connection.executescript(_SCHEMA + schema)
                self.spending.lose_killed(self._still_awaited())
        except BaseException:
            self._lock.release()
            raise

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()
        self._lock.release()

    def _still_awaited(self) -> Iterable[int]:
        """Requests whose answer may still come although the run that sent them is gone."""
        return ()

    @contextmanager
    def translating_errors(self) -> Iterator[None]:
        """Turn what SQLite refuses into one line that names the file."""
        try:
            yield
        except sqlite3.Error as error:
            raise Diffusion4kError(
                f"{self.path}: cannot be read or written ({error}): make room, or move the file "
                "away if it is damaged; finished work is kept, the same command continues"
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


@dataclass(frozen=True)
class AnswerTable:
    """Name of a ledger's table of answers, and its columns of texts that are the caller's."""

    name: str
    question: tuple[str, ...]
    """What was asked; with `attempt` the key."""
    more: tuple[str, ...] = ()
    """What the caller has found out about an answer, or null."""

    @property
    def schema(self) -> str:
        """The statement that makes it, if absent."""
        asked = "".join(f"{name} TEXT NOT NULL, " for name in self.question)
        more = "".join(f"{name} TEXT, " for name in self.more)
        return f"""
            CREATE TABLE IF NOT EXISTS {self.name} (
                {asked}attempt INTEGER NOT NULL, text TEXT NOT NULL, {more}
                refusal TEXT, finish TEXT, most_tokens INTEGER NOT NULL,
                input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL,
                cost REAL NOT NULL, request INTEGER NOT NULL REFERENCES requests (id),
                request_id TEXT, endpoint TEXT NOT NULL, created REAL NOT NULL,
                PRIMARY KEY ({", ".join(self.question)}, attempt)
            );
        """

    @property
    def is_question(self) -> str:
        """Condition of the rows of one question."""
        return " AND ".join(f"{name} = ?" for name in self.question)


@dataclass(frozen=True)
class StoredAnswer:
    """The last answer to a question."""

    text: str
    refusal: str | None
    finish: str | None
    attempts: int
    """Answers paid for so far."""
    created: float
    """Unix time."""


class AnswerLedger(LedgerFile):
    """A ledger with its table of paid answers; see `LedgerFile`."""

    table: ClassVar[AnswerTable]

    def __init__(self, path: str | Path, doing: str, *, schema: str = "") -> None:
        super().__init__(path, self.table.schema + schema, doing)

    def last_answer(self, question: Sequence[str]) -> StoredAnswer | None:
        """The last answer to a question, given as `table.question` names its parts."""
        row = self.connection.execute(
            f"SELECT text, refusal, finish, attempt + 1, created FROM {self.table.name} "
            f"WHERE {self.table.is_question} ORDER BY attempt DESC LIMIT 1",
            tuple(question),
        ).fetchone()
        # Earlier versions stored the text as it came.
        return StoredAnswer(clean_text(row[0]), *row[1:]) if row else None

    def scale(self, **asked: str) -> float:
        """Factor by which more input tokens were counted than expected; at least 1.

        Args:
            asked: Columns of the question that matter, such as `model`.
        """
        where = " AND ".join(f"{name} = ?" for name in asked)
        row = self.connection.execute(
            f"SELECT MAX(CAST(input_tokens AS REAL) / most_tokens) FROM {self.table.name} "
            f"WHERE {where}",
            tuple(asked.values()),
        ).fetchone()
        return max(1.0, row[0] or 1.0)

    def store(
        self,
        question: Sequence[str],
        attempt: int,
        answer: EndpointAnswer,
        payment: Payment,
        endpoint: str,
        **more: str | None,
    ) -> None:
        """Write down an answer, inside the caller's transaction."""
        columns = {
            **dict(zip(self.table.question, question, strict=True)),
            "attempt": attempt,
            "text": answer.text,
            **more,
            "refusal": answer.refusal,
            "finish": answer.finish,
            "most_tokens": payment.most_tokens,
            "input_tokens": payment.input_tokens,
            "output_tokens": payment.output_tokens,
            "cost": payment.cost,
            "request": payment.number,
            "request_id": answer.request_id,
            "endpoint": endpoint,
            "created": time.time(),
        }
        self.connection.execute(
            f"INSERT INTO {self.table.name} ({', '.join(columns)}) "
            f"VALUES ({', '.join('?' * len(columns))})",
            tuple(columns.values()),
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
