"""The judge's ledger: each paid answer by the two images in their order, the caption, the region.

Nothing is paid twice (`endpoint.ledger`). The table beside those of every ledger:

    judgements    one row per paid answer
        first, second TEXT    SHA-256 of the image files' bytes, in the order sent
        caption TEXT      SHA-256 of the images' prompt
        prompt TEXT       SHA-256 of what is asked (`judge.prompt`)
        model TEXT        as asked for
        settings TEXT     how the images were sent, and which place of them, JSON
"""

import json
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from diffusion4k.endpoint.client import EndpointAnswer
from diffusion4k.endpoint.ledger import AnswerLedger, AnswerTable, StoredAnswer, text_hash
from diffusion4k.endpoint.sender import Payment

__all__ = ["JudgeLedger", "JudgeQuestion"]


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


class JudgeLedger(AnswerLedger):
    """`judge.sqlite`, held by one process at a time, as `with Ledger(path) as ledger`.

    Raises:
        Diffusion4kError: another process holds it, or it cannot be read or written.
    """

    table = AnswerTable("judgements", tuple(each.name for each in fields(JudgeQuestion)))

    def __init__(self, path: str | Path) -> None:
        super().__init__(path, "judging")

    def stored(self, question: JudgeQuestion) -> StoredAnswer | None:
        """The last answer to a question."""
        return self.last_answer(astuple(question))

    def record(
        self,
        question: JudgeQuestion,
        attempt: int,
        answer: EndpointAnswer,
        payment: Payment,
        endpoint: str,
    ) -> None:
        """Write down an answer, inside the caller's transaction."""
        self.store(astuple(question), attempt, answer, payment, endpoint)
