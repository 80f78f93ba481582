"""What is to be captioned: pictures by their content, each once, with what each may cost."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from diffusion4k.curation.captions.ledger import CaptionLedger, CaptionRequest, StoredCaption
from diffusion4k.curation.captions.settings import CaptionSettings
from diffusion4k.data.images import image_size
from diffusion4k.data.problems import Problem
from diffusion4k.endpoint.estimate import estimate as endpoint_estimate
from diffusion4k.endpoint.estimate import likely_text_tokens
from diffusion4k.endpoint.images import image_part, sent_size
from diffusion4k.endpoint.prices import image_tokens, text_tokens_at_most
from diffusion4k.errors import Diffusion4kError
from diffusion4k.support.progress import track
from diffusion4k.support.wording import counted

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletionContentPartTextParam as TextPart
    from openai.types.chat import ChatCompletionMessageParam as Message
    from openai.types.chat import ChatCompletionUserMessageParam as UserMessage

__all__ = ["CaptionPlan", "Job", "estimate", "make_plan"]

_TOKENS_PER_CAPTION = 40
_SECONDS_PER_ANSWER = 3.0


@dataclass
class Job:
    """A picture without a caption."""

    picture: str
    """SHA-256 of its bytes."""
    path: Path
    size: tuple[int, int]
    """Width and height in pixels at which it is sent."""
    image_tokens: int
    tokens: int
    """The greatest number of input tokens."""
    attempts: int = 0
    """Answers paid for so far, all of them flagged."""
    reason: str = ""
    """Why it still has no caption."""

    def messages(self, settings: CaptionSettings) -> "list[Message]":
        """What is asked; decodes the picture.

        Raises:
            Diffusion4kError: the picture cannot be read.
        """
        text: TextPart = {"type": "text", "text": settings.prompt}
        picture = image_part(self.path, self.size, settings.image)
        message: UserMessage = {"role": "user", "content": [text, picture]}
        return [message]


@dataclass
class CaptionPlan:
    """Which pictures have captions already, which not, and which cannot be used."""

    settings: CaptionSettings
    question: CaptionRequest
    hashes: dict[Path, str] = field(default_factory=dict)
    jobs: list[Job] = field(default_factory=list)
    problems: dict[Path, Problem] = field(default_factory=dict)

    def is_settled(self, stored: StoredCaption) -> bool:
        """Whether nothing more is paid for a picture."""
        return stored.flag is None or stored.attempts >= self.settings.tries


def make_plan(
    pictures: Sequence[Path], settings: CaptionSettings, ledger: CaptionLedger, *, progress: bool
) -> CaptionPlan:
    """Look up each picture in the ledger; of those not there read the header."""
    plan = CaptionPlan(settings, CaptionRequest.of(settings))
    seen: set[str] = set()
    with ledger.connection:
        for path in track(pictures, len(pictures), "comparing pictures", shown=progress):
            try:
                picture = plan.hashes[path] = ledger.hash_of(path)
                if picture in seen:
                    continue
                seen.add(picture)
                stored = ledger.stored(picture, plan.question, settings.most_words)
                if stored is None or not plan.is_settled(stored):
                    plan.jobs.append(_job(path, picture, stored, settings))
            except (Diffusion4kError, OSError) as error:
                reason = str(getattr(error, "strerror", None) or error)
                plan.problems[path] = Problem(str(path), reason.removeprefix(f"{path}: "))
    return plan


def estimate(jobs: Iterable[Job], settings: CaptionSettings) -> str:
    """One line: how many pictures, about how many tokens, dollars and how much time."""
    jobs = list(jobs)
    return endpoint_estimate(
        f"{counted(len(jobs), 'picture')} to caption",
        [job.tokens for job in jobs],
        settings.endpoint,
        used=sum(job.image_tokens + likely_text_tokens(settings.prompt) for job in jobs),
        written=len(jobs) * _TOKENS_PER_CAPTION,
        seconds=_SECONDS_PER_ANSWER,
    )


def _job(path: Path, picture: str, stored: StoredCaption | None, wanted: CaptionSettings) -> Job:
    sent = sent_size(*image_size(path), wanted.image.longest)
    shown = image_tokens(wanted.endpoint.model, *sent, wanted.image.detail)
    tokens = shown + text_tokens_at_most(wanted.prompt)
    return Job(
        picture,
        path,
        sent,
        shown,
        tokens,
        stored.attempts if stored else 0,
        (stored.flag or "") if stored else "",
    )
