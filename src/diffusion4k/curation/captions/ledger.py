"""The captioner's ledger: an SQLite file in which every paid answer stands before the next step.

Found again by the picture and the question, so that nothing is paid twice (`endpoint.ledger`).

Tables:

    captions    one row per paid answer
        picture TEXT      SHA-256 of the picture file's bytes
        prompt TEXT       SHA-256 of the prompt
        model TEXT        as asked for
        settings TEXT     how the picture was sent, JSON
        attempt INTEGER   0, 1, ...: after a flagged answer it is asked again; the last one counts
        text TEXT         as answered, cleaned (`endpoint.answer_text`)
        flag TEXT         refused, empty, long; null: a caption
        refusal, finish TEXT         as the endpoint gave them
        most_tokens INTEGER          the greatest number of input tokens that was expected
        input_tokens, output_tokens INTEGER; cost REAL (dollars)
        request INTEGER   the row of `requests`
        request_id TEXT   the endpoint's own
        endpoint TEXT     its address
        created REAL      unix time
    prompts, files, requests    see `endpoint.ledger`
    batches     name TEXT, id TEXT (null while it is being created), request INTEGER;
                endpoint, prompt, model, settings TEXT: only while it is under way
    batch_pictures    batch TEXT, key TEXT, picture TEXT, attempt INTEGER, tokens INTEGER
"""

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from diffusion4k.curation.captions.settings import CaptionSettings
from diffusion4k.endpoint.answer_text import clean_text
from diffusion4k.endpoint.client import EndpointAnswer
from diffusion4k.endpoint.ledger import LedgerFile, text_hash
from diffusion4k.endpoint.refusals import flag_of
from diffusion4k.endpoint.sender import Payment

__all__ = ["CaptionLedger", "CaptionRequest", "StoredCaption"]

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
CREATE TABLE IF NOT EXISTS batches (
    name TEXT PRIMARY KEY, id TEXT, request INTEGER NOT NULL REFERENCES requests (id),
    endpoint TEXT NOT NULL, prompt TEXT NOT NULL, model TEXT NOT NULL, settings TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS batch_pictures (
    batch TEXT NOT NULL REFERENCES batches (name), key TEXT NOT NULL, picture TEXT NOT NULL,
    attempt INTEGER NOT NULL, tokens INTEGER NOT NULL, PRIMARY KEY (batch, key)
);
"""


@dataclass(frozen=True)
class CaptionRequest:
    """What is asked about a picture; another prompt, model or size is another question."""

    prompt: str
    model: str
    settings: str

    @classmethod
    def of(cls, wanted: CaptionSettings) -> "CaptionRequest":
        """The question that settings ask."""
        image = json.dumps(wanted.image.model_dump(), sort_keys=True)
        return cls(text_hash(wanted.prompt), wanted.endpoint.model, image)

    def key(self, picture: str, attempt: int) -> str:
        """The Idempotency-Key of a question: the same whenever the same is asked."""
        parts = (picture, self.prompt, self.model, self.settings, attempt)
        return text_hash(json.dumps(parts))


@dataclass(frozen=True)
class StoredCaption:
    """The last answer about a picture."""

    text: str
    flag: str | None
    attempts: int
    """Answers paid for so far."""


class CaptionLedger(LedgerFile):
    """`captions.sqlite`, held by one process at a time, as `with Ledger(path) as ledger`.

    Raises:
        Diffusion4kError: another process holds it, or it cannot be read or written.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__(path, _SCHEMA, "captioning")

    def _still_awaited(self) -> Iterable[int]:
        kept = self.connection.execute("SELECT request FROM batches")
        return [row[0] for row in kept.fetchall()]

    @property
    def has_batches(self) -> bool:
        """Whether a batch is under way."""
        return self.connection.execute("SELECT 1 FROM batches LIMIT 1").fetchone() is not None

    def stored(
        self, picture: str, question: CaptionRequest, most_words: int
    ) -> StoredCaption | None:
        """The last answer to a question about a picture, its flag by today's settings."""
        row = self.connection.execute(
            "SELECT text, refusal, finish, flag, attempt FROM captions WHERE picture = ? AND "
            "prompt = ? AND model = ? AND settings = ? ORDER BY attempt DESC LIMIT 1",
            (picture, question.prompt, question.model, question.settings),
        ).fetchone()
        if row is None:
            return None
        text, refusal, finish, old, attempt = row
        text = clean_text(text)  # Earlier versions stored it as it came.
        flag = flag_of(text, refusal, finish, most_words)
        if flag != old:
            self.connection.execute(
                "UPDATE captions SET flag = ? WHERE picture = ? AND prompt = ? AND model = ? AND "
                "settings = ? AND attempt = ?",
                (flag, picture, question.prompt, question.model, question.settings, attempt),
            )
        return StoredCaption(text, flag, attempt + 1)

    def scale(self, question: CaptionRequest) -> float:
        """Factor by which a model counts more input tokens than expected; at least 1."""
        row = self.connection.execute(
            "SELECT MAX(CAST(input_tokens AS REAL) / most_tokens) FROM captions WHERE model = ? "
            "AND settings = ?",
            (question.model, question.settings),
        ).fetchone()
        return max(1.0, row[0] or 1.0)

    def record(
        self,
        picture: str,
        question: CaptionRequest,
        attempt: int,
        flag: str | None,
        answer: EndpointAnswer,
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
