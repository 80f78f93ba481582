"""What a page may send as an answer, and the rows it becomes."""

import json
from typing import Annotated

from pydantic import Field, StringConstraints

from diffusion4k.config.types import NonNegative, Section, Typed
from diffusion4k.curation.inspection.inspection import REASONS
from diffusion4k.preference.study.access import Refusal
from diffusion4k.preference.study.config import PairwiseTask, RatingTask, StudyConfig
from diffusion4k.preference.study.store import now
from diffusion4k.preference.study.tables import AnswerRow

__all__ = ["DECISION", "RATING", "SKIP", "Reply", "allowed", "check_reply", "rows_of"]

RATING, DECISION = "rating", "decision"
"""Names of the one question about a patch, and about a candidate."""
SKIP = "skip"
"""The choice where an image cannot be shown; it is kept, but no answer."""

Key = Annotated[str, StringConstraints(pattern=r"^[0-9a-zA-Z-]{8,64}$")]
Position = Annotated[int, Field(ge=0, lt=2**31)]
_LONGEST = 86_400.0  # seconds; whoever left a page open for days did not look at it for days


class Reply(Section):
    """The answers to all questions about what was shown."""

    position: Position
    key: Key
    """Drawn by the page for each sending; the same when it has to send again."""
    choices: Annotated[
        dict[
            Annotated[str, StringConstraints(max_length=64)], Annotated[str, Field(max_length=16)]
        ],
        Field(min_length=1, max_length=64),
    ]
    """Choice by name of the question: left, right, tie; 1 to 10; accepted, rejected."""
    seconds: NonNegative
    """Since the images were seen, without the time during which the page was not."""
    reason: Annotated[str, StringConstraints(max_length=64)] | None = None
    caption: Typed | None = None
    """Corrected."""

    @property
    def detail(self) -> dict[str, object]:
        """What belongs to the answer beside the choice."""
        found = {"reason": self.reason, "caption": self.caption}
        return {key: value for key, value in found.items() if value is not None}


def allowed(config: StudyConfig) -> dict[str, tuple[str, ...]]:
    """The choices that each question has."""
    task = config.task
    if isinstance(task, PairwiseTask):
        sides = ("left", "right", "tie") if task.tie else ("left", "right")
        return {question.name: sides for question in task.questions}
    if isinstance(task, RatingTask):
        return {RATING: tuple(str(number) for number in range(1, 11))}
    return {DECISION: ("accepted", "rejected")}


def check_reply(config: StudyConfig, reply: Reply, *, broken: bool) -> None:
    """Refuse anything but answers to the study's questions; for a `broken` image all are skipped.

    Raises:
        Refusal: 422.
    """
    questions = allowed(config)
    if set(reply.choices) != set(questions):
        raise Refusal(422, f"choices: allowed are answers to {', '.join(questions)}, one each")
    for name, choice in reply.choices.items():
        choices = (SKIP,) if broken else questions[name]
        if choice not in choices:
            raise Refusal(422, f"{name}: found {choice!r}, allowed {', '.join(choices)}")
    if reply.detail and DECISION not in questions:
        raise Refusal(422, "reason, caption: allowed for candidates of a dataset only")
    if reply.reason is not None and reply.reason not in REASONS:
        raise Refusal(422, f"reason: found {reply.reason!r}, allowed {', '.join(REASONS)}")


def rows_of(reply: Reply, participant: int, most: float | None) -> list[AnswerRow]:
    """The rows to be kept; `most` is how long ago the server has sent what is answered."""
    at = now()
    seconds = round(min(reply.seconds, _LONGEST if most is None else most), 3)
    detail = json.dumps(reply.detail, ensure_ascii=False) if reply.detail else ""
    return [
        AnswerRow(
            participant=participant,
            position=reply.position,
            question=question,
            choice=choice,
            detail=detail,
            seconds=seconds,
            key=reply.key,
            at=at,
        )
        for question, choice in reply.choices.items()
    ]
