"""The captioner's ledger: an SQLite file in which every paid answer stands before the next step.

Found again by the picture and the question, so that nothing is paid twice (`endpoint.ledger`).

Tables beside those of every ledger:

    captions    one row per paid answer
        picture TEXT      SHA-256 of the picture file's bytes
        prompt TEXT       SHA-256 of the prompt
        model TEXT        as asked for
        settings TEXT     how the picture was sent, JSON
        flag TEXT         refused, empty, long; null: a caption
    batches     name TEXT, id TEXT (null while it is being created), request INTEGER;
                endpoint, prompt, model, settings TEXT: only while it is under way
    batch_pictures    batch TEXT, key TEXT, picture TEXT, attempt INTEGER, tokens INTEGER
"""

import json
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from pathlib import Path

from diffusion4k.curation.captions.settings import CaptionSettings
from diffusion4k.endpoint.client import EndpointAnswer
from diffusion4k.endpoint.ledger import AnswerLedger, AnswerTable, text_hash
from diffusion4k.endpoint.refusals import flag_of
from diffusion4k.endpoint.sender import Payment

__all__ = ["CaptionLedger", "CaptionRequest", "StoredCaption"]

_BATCHES = """
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


class CaptionLedger(AnswerLedger):
    """`captions.sqlite`, held by one process at a time, as `with Ledger(path) as ledger`.

    Raises:
        Diffusion4kError: another process holds it, or it cannot be read or written.
    """

    table = AnswerTable("captions", ("picture", "prompt", "model", "settings"), ("flag",))

    def __init__(self, path: str | Path) -> None:
        super().__init__(path, "captioning", schema=_BATCHES)

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
        asked = (picture, *astuple(question))
        answer = self.last_answer(asked)
        if answer is None:
            return None
        flag = flag_of(answer.text, answer.refusal, answer.finish, most_words)
        self.connection.execute(
            f"UPDATE captions SET flag = ? WHERE {self.table.is_question} AND attempt = ? "
            "AND flag IS NOT ?",
            (flag, *asked, answer.attempts - 1, flag),
        )
        return StoredCaption(answer.text, flag, answer.attempts)

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
        self.store((picture, *astuple(question)), attempt, answer, payment, endpoint, flag=flag)
