"""The judge's ledger: each paid answer by the two images in their order, the caption, the region.

Nothing is paid twice (`endpoint.ledger`). Tables:

    judgements    one row per paid answer
        first, second TEXT    SHA-256 of the image files' bytes, in the order sent
        caption TEXT      SHA-256 of the images' prompt
        prompt TEXT       SHA-256 of what is asked (`judge.prompt`)
        model TEXT        as asked for
        settings TEXT     how the images were sent, and which region of them, JSON
        attempt INTEGER   0, 1, ...: after an answer that cannot be read it is asked again
        text TEXT         as answered, cleaned (`endpoint.answer_text`)
        refusal, finish TEXT         as the endpoint gave them
        most_tokens INTEGER          the greatest number of input tokens that was expected
        input_tokens, output_tokens INTEGER; cost REAL (dollars)
        request INTEGER   the row of `requests`
        request_id TEXT   the endpoint's own
        endpoint TEXT     its address
        created REAL      unix time
    prompts, files, requests    see `endpoint.ledger`
"""

import json
import time
from dataclasses import astuple, dataclass
from pathlib import Path

from diffusion4k.endpoint.answer_text import clean_text
from diffusion4k.endpoint.client import EndpointAnswer
from diffusion4k.endpoint.ledger import LedgerFile, text_hash
from diffusion4k.endpoint.sender import Payment

__all__ = ["JudgeLedger", "JudgeQuestion", "StoredJudgement"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS judgements (
    first TEXT NOT NULL, second TEXT NOT NULL, caption TEXT NOT NULL, prompt TEXT NOT NULL,
    model TEXT NOT NULL, settings TEXT NOT NULL, attempt INTEGER NOT NULL, text TEXT NOT NULL,
    refusal TEXT, finish TEXT, most_tokens INTEGER NOT NULL, input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL, cost REAL NOT NULL,
    request INTEGER NOT NULL REFERENCES requests (id), request_id TEXT, endpoint TEXT NOT NULL,
    created REAL NOT NULL,
    PRIMARY KEY (first, second, caption, prompt, model, settings, attempt)
);
"""
_IS_QUESTION = (
    "first = ? AND second = ? AND caption = ? AND prompt = ? AND model = ? AND settings = ?"
)


@dataclass(frozen=True)
class JudgeQuestion:
    """One request's content; whatever differs makes another question."""

    first: str
    second: str
    caption: str
    prompt: str
    model: str
    settings: str

    def key(self, attempt: int) -> str:
        """The Idempotency-Key: the same whenever the same is asked."""
        return text_hash(json.dumps((*astuple(self), attempt)))


@dataclass(frozen=True)
class StoredJudgement:
    """The last answer to a question."""

    text: str
    refusal: str | None
    finish: str | None
    attempts: int
    """Answers paid for so far."""
    created: float
    """Unix time."""


class JudgeLedger(LedgerFile):
    """`judge.sqlite`, held by one process at a time, as `with Ledger(path) as ledger`.

    Raises:
        Diffusion4kError: another process holds it, or it cannot be read or written.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__(path, _SCHEMA, "judging")

    def stored(self, question: JudgeQuestion) -> StoredJudgement | None:
        """The last answer to a question."""
        row = self.connection.execute(
            "SELECT text, refusal, finish, attempt + 1, created FROM judgements "
            f"WHERE {_IS_QUESTION} ORDER BY attempt DESC LIMIT 1",
            astuple(question),
        ).fetchone()
        # Earlier versions stored the text as it came.
        return StoredJudgement(clean_text(row[0]), *row[1:]) if row else None

    def scale(self, model: str) -> float:
        """Factor by which a model counts more input tokens than expected; at least 1."""
        row = self.connection.execute(
            "SELECT MAX(CAST(input_tokens AS REAL) / most_tokens) FROM judgements WHERE model = ?",
            (model,),
        ).fetchone()
        return max(1.0, row[0] or 1.0)

    def record(
        self,
        question: JudgeQuestion,
        attempt: int,
        answer: EndpointAnswer,
        payment: Payment,
        endpoint: str,
    ) -> None:
        """Write down an answer, inside the caller's transaction."""
        self.connection.execute(
            f"INSERT INTO judgements VALUES ({', '.join('?' * 18)})",
            (
                *astuple(question),
                *(attempt, answer.text, answer.refusal, answer.finish),
                *(payment.most_tokens, payment.input_tokens, payment.output_tokens, payment.cost),
                *(payment.number, answer.request_id, endpoint, time.time()),
            ),
        )
