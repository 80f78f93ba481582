"""A picture to caption as a task of a live run: what is sent, and how its answer is stored."""

from typing import TYPE_CHECKING

from diffusion4k.curation.captions.jobs import CaptionPlan, Job
from diffusion4k.curation.captions.ledger import CaptionLedger
from diffusion4k.data.problems import Problem
from diffusion4k.endpoint.client import EndpointAnswer
from diffusion4k.endpoint.refusals import flag_of
from diffusion4k.endpoint.sender import Payment
from diffusion4k.errors import Diffusion4kError

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletionMessageParam as Message

__all__ = ["CaptionTask"]


class CaptionTask:
    """A job of a plan; a flagged answer leaves it open, until `tries` are paid for."""

    def __init__(self, job: Job, plan: CaptionPlan, ledger: CaptionLedger) -> None:
        self._job, self._plan, self._ledger = job, plan, ledger
        self.tokens = job.tokens

    @property
    def reason(self) -> str:
        """Why the picture still has no caption."""
        return self._job.reason

    @reason.setter
    def reason(self, why: str) -> None:
        self._job.reason = why

    def messages(self) -> "list[Message] | None":
        """The prompt and the picture; None if the picture cannot be read."""
        job = self._job
        try:
            return job.messages(self._plan.settings)
        except Diffusion4kError as error:
            reason = str(error).removeprefix(f"{job.path}: ")
            self._plan.problems[job.path] = Problem(str(job.path), reason)
            return None

    def key(self) -> str:
        """Key of the picture, the question and the attempt."""
        return self._plan.question.key(self._job.picture, self._job.attempts)

    def is_open(self) -> bool:
        """Whether it has no caption yet and another answer may be paid for."""
        job = self._job
        return job.attempts < self._plan.settings.tries and (not job.attempts or bool(job.reason))

    def record(self, answer: EndpointAnswer, payment: Payment) -> None:
        """Pay for an answer and store it with its flag."""
        job, plan = self._job, self._plan
        flag = flag_of(answer.text, answer.refusal, answer.finish, plan.settings.most_words)
        with self._ledger.durable():
            self._ledger.spending.pay(payment.number, payment.cost)
            self._ledger.record(
                *(job.picture, plan.question, job.attempts, flag, answer, payment),
                plan.settings.endpoint.url,
            )
        job.attempts += 1
        job.reason = flag or ""
