"""The captioner's ledger: an SQLite file in which every paid answer stands before the next step.

It is what makes sure that nothing is paid twice. The only loss that cannot be avoided are requests
under way when the process is killed, at most as many as are sent at a time: the endpoint may have
worked on them, and nobody noted the answer. They are sent again with the same Idempotency-Key, so
that an endpoint that honours it bills them once; the budget takes them for billed in any case.

Tables:

    captions    one row per paid answer
        picture TEXT      SHA-256 of the picture file's bytes
        prompt TEXT       SHA-256 of the prompt
        model TEXT        as asked for
        settings TEXT     how the picture was sent, JSON
        attempt INTEGER   0, 1, ...: after a flagged answer it is asked again; the last one counts
        text TEXT         as answered
        flag TEXT         refused, empty, long; null: a caption
        refusal, finish TEXT         as the endpoint gave them
        most_tokens INTEGER          the greatest number of input tokens that was expected
        input_tokens, output_tokens INTEGER; cost REAL (dollars)
        request INTEGER   the row of `requests`
        request_id TEXT   the endpoint's own
        endpoint TEXT     its address
        created REAL      unix time
    prompts     hash TEXT, text TEXT
    files       path BLOB, size INTEGER, changed INTEGER (ns), hash TEXT: only saves time
    requests    see `endpoint.book`
    batches     name TEXT, id TEXT (null while it is being created), request INTEGER;
                endpoint, prompt, model, settings TEXT: only while it is under way
    batch_pictures    batch TEXT, key TEXT, picture TEXT, attempt INTEGER, tokens INTEGER
"""

import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from diffusion4k.curation.captions.flags import flag_of
from diffusion4k.curation.captions.settings import CaptionSettings
from diffusion4k.endpoint.book import Book
from diffusion4k.endpoint.client import Answer
from diffusion4k.endpoint.sender import Payment
from diffusion4k.errors import Diffusion4kError
from diffusion4k.files import sha256_of
from diffusion4k.lock import hold

__all__ = ["Ledger", "Question", "Stored"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS captions (
    picture TEXT NOT NULL, prompt TEXT NOT NULL, model TEXT NOT NULL, settings TEXT NOT NULL,
    attempt INTEGER NOT NULL, text TEXT NOT NULL, flag TEXT, refusal TEXT, finish TEXT,
    most_tokens INTEGER NOT NULL, input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL, cost REAL NOT NULL,
    request INTEGER NOT NULL REFERENCES requests (id), request_id TEXT, endpoint TEXT NOT NULL,
    created REAL NOT NULL,
    PRIMARY KEY (picture, prompt, model, settings, attempt)
);
CREATE TABLE IF NOT EXISTS prompts (hash TEXT PRIMARY KEY, text TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS files (
    path BLOB PRIMARY KEY, size INTEGER NOT NULL, changed INTEGER NOT NULL, hash TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS batches (
    name TEXT PRIMARY KEY, id TEXT, request INTEGER NOT NULL REFERENCES requests (id),
    endpoint TEXT NOT NULL, prompt TEXT NOT NULL, model TEXT NOT NULL, settings TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS batch_pictures (
    batch TEXT NOT NULL REFERENCES batches (name), key TEXT NOT NULL, picture TEXT NOT NULL,
    attempt INTEGER NOT NULL, tokens INTEGER NOT NULL, PRIMARY KEY (batch, key)
);
"""
_RACY_SECONDS = 2.0  # A file changed just now may change again without its time showing it.


@dataclass(frozen=True)
class Question:
    """What is asked about a picture; another prompt, model or size is another question."""

    prompt: str
    model: str
    settings: str

    @classmethod
    def of(cls, wanted: CaptionSettings) -> "Question":
        """The question that settings ask."""
        image = json.dumps(wanted.image.model_dump(), sort_keys=True)
        return cls(_hash(wanted.prompt), wanted.endpoint.model, image)

    def key(self, picture: str, attempt: int) -> str:
        """The Idempotency-Key of a question: the same whenever the same is asked."""
        parts = (picture, self.prompt, self.model, self.settings, attempt)
        return _hash(json.dumps(parts))


@dataclass(frozen=True)
class Stored:
    """The last answer about a picture."""

    text: str
    flag: str | None
    attempts: int
    """Answers paid for so far."""


class Ledger:
    """`captions.sqlite`, held by one process at a time, as `with Ledger(path) as ledger`.

    Raises:
        Diffusion4kError: another process holds it, or it cannot be read or written.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = self.path.with_name(f".{self.path.name}.lock").open("w")
        try:
            hold(self._lock, f"{self.path}: another run is captioning with it: wait for it to end")
            with self.told():
                self.connection = sqlite3.connect(self.path)
                self.connection.execute("PRAGMA journal_mode = WAL")
                self.connection.execute("PRAGMA synchronous = NORMAL")
                self.book = Book(self.connection)
                self.connection.executescript(_SCHEMA)
                kept = self.connection.execute("SELECT request FROM batches")
                self.book.lose_killed(row[0] for row in kept.fetchall())
        except BaseException:
            self._lock.close()
            raise

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.connection.close()
        self._lock.close()

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

    @property
    def has_batches(self) -> bool:
        """Whether a batch is under way."""
        return self.connection.execute("SELECT 1 FROM batches LIMIT 1").fetchone() is not None

    def remember_prompt(self, text: str) -> None:
        """Keep the words behind a prompt's hash."""
        with self.connection:
            self.connection.execute(
                "INSERT OR IGNORE INTO prompts VALUES (?, ?)", (_hash(text), text)
            )

    def hash_of(self, path: Path) -> str:
        """SHA-256 of a picture's bytes, remembered by path, size and time of change."""
        stat, name = path.stat(), os.fsencode(path.resolve())
        stamp = (stat.st_size, stat.st_mtime_ns)
        query = "SELECT size, changed, hash FROM files WHERE path = ?"
        row = self.connection.execute(query, (name,)).fetchone()
        if row and row[:2] == stamp:
            return str(row[2])
        digest = sha256_of(path)
        if time.time() - stat.st_mtime > _RACY_SECONDS:
            self.connection.execute(
                "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", (name, *stamp, digest)
            )
        return digest

    def stored(self, picture: str, question: Question, most_words: int) -> Stored | None:
        """The last answer to a question about a picture, its flag by today's settings."""
        row = self.connection.execute(
            "SELECT text, refusal, finish, flag, attempt FROM captions WHERE picture = ? AND "
            "prompt = ? AND model = ? AND settings = ? ORDER BY attempt DESC LIMIT 1",
            (picture, question.prompt, question.model, question.settings),
        ).fetchone()
        if row is None:
            return None
        text, refusal, finish, old, attempt = row
        flag = flag_of(text, refusal, finish, most_words)
        if flag != old:
            self.connection.execute(
                "UPDATE captions SET flag = ? WHERE picture = ? AND prompt = ? AND model = ? AND "
                "settings = ? AND attempt = ?",
                (flag, picture, question.prompt, question.model, question.settings, attempt),
            )
        return Stored(text, flag, attempt + 1)

    def scale(self, question: Question) -> float:
        """By how much a model was seen to count more input tokens than expected; at least 1."""
        row = self.connection.execute(
            "SELECT MAX(CAST(input_tokens AS REAL) / most_tokens) FROM captions WHERE model = ? "
            "AND settings = ?",
            (question.model, question.settings),
        ).fetchone()
        return max(1.0, row[0] or 1.0)

    def record(
        self,
        picture: str,
        question: Question,
        attempt: int,
        flag: str | None,
        answer: Answer,
        payment: Payment,
        endpoint: str,
    ) -> None:
        """Write down an answer, inside the caller's transaction."""
        self.connection.execute(
            f"INSERT INTO captions VALUES ({', '.join('?' * 17)})",
            (
                *(picture, question.prompt, question.model, question.settings, attempt),
                *(answer.text, flag, answer.refusal, answer.finish),
                *(payment.most_tokens, payment.input_tokens, payment.output_tokens, payment.cost),
                *(payment.number, answer.request_id, endpoint, time.time()),
            ),
        )


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
