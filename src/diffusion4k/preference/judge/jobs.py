"""What is to be asked: each pair in both orders, whole and in patches, if it has no answer yet."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from diffusion4k.data.images import image_size
from diffusion4k.data.problems import Problem
from diffusion4k.endpoint.client import EndpointAnswer
from diffusion4k.endpoint.estimate import estimate as endpoint_estimate
from diffusion4k.endpoint.estimate import likely_text_tokens
from diffusion4k.endpoint.images import sent_size
from diffusion4k.endpoint.ledger import StoredAnswer, text_hash
from diffusion4k.endpoint.prices import image_tokens, text_tokens_at_most
from diffusion4k.endpoint.sender import Payment
from diffusion4k.errors import Diffusion4kError
from diffusion4k.preference.judge.image_parts import ImageParts, patch_side, room
from diffusion4k.preference.judge.ledger import JudgeLedger, JudgeQuestion
from diffusion4k.preference.judge.pairs import Pair
from diffusion4k.preference.judge.prompt import SYSTEM, TEMPLATE, JudgeSettings, judge_text
from diffusion4k.preference.judge.verdicts import Unparsable, Verdict, read_verdicts
from diffusion4k.preference.study.questions import PAPER
from diffusion4k.support.progress import track
from diffusion4k.support.wording import counted

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletionContentPartTextParam as TextPart
    from openai.types.chat import ChatCompletionMessageParam as Message
    from openai.types.chat import ChatCompletionSystemMessageParam as SystemMessage
    from openai.types.chat import ChatCompletionUserMessageParam as UserMessage

__all__ = ["DETAILS", "JudgePlan", "View", "estimate", "make_plan", "verdicts_of"]

DETAILS = "fine_details"
_TOKENS_PER_ANSWER = 200
_SECONDS_PER_ANSWER = 6.0


@dataclass
class View:
    """A pair in one order, whole (patch 0) or one of its patches: one request, a task of a run."""

    plan: "JudgePlan"
    pair: Pair
    first: int
    """Which of the pair's two is sent first, 0 or 1."""
    patch: int
    question: JudgeQuestion
    image_tokens: int = 0
    tokens: int = 0
    attempts: int = 0
    """Answers paid for so far, none of them readable."""
    reason: str = ""

    @property
    def asked(self) -> list[str]:
        """Names of the questions that it asks."""
        return [DETAILS] if self.patch else [question.name for question in PAPER]

    def messages(self) -> "list[Message] | None":
        """The prompts of Table 11 and both images; None if one cannot be read."""
        try:
            parts = self.plan.shown.parts(self.pair.paths, self.patch)
        except Diffusion4kError as error:
            self.plan.problems[self.pair.name] = Problem(self.pair.name, str(error))
            return None
        text: TextPart = {"type": "text", "text": judge_text(self.pair.prompt)}
        images = [parts[self.first], parts[1 - self.first]]
        system: SystemMessage = {"role": "system", "content": SYSTEM}
        question: UserMessage = {"role": "user", "content": [text, *images]}
        return [system, question]

    def key(self) -> str:
        """Key of the question and the attempt."""
        return self.question.key(self.attempts)

    def is_open(self) -> bool:
        """Whether no answer could be read yet and another may be paid for."""
        fresh = not self.attempts or bool(self.reason)
        return fresh and self.attempts < self.plan.settings.tries

    def record(self, answer: EndpointAnswer, payment: Payment) -> None:
        """Pay for an answer and store it."""
        ledger = self.plan.ledger
        with ledger.durable():
            ledger.spending.pay(payment.number, payment.cost)
            ledger.record(
                self.question, self.attempts, answer, payment, self.plan.settings.endpoint.url
            )
        self.attempts += 1
        try:
            read_verdicts(answer.text, self.asked, refusal=answer.refusal, finish=answer.finish)
            self.reason = ""
        except Unparsable as why:
            self.reason = str(why)


@dataclass
class JudgePlan:
    """All views of all pairs, and which of them are to be asked."""

    settings: JudgeSettings
    ledger: JudgeLedger
    shown: ImageParts
    views: list[View] = field(default_factory=list)
    open: list[View] = field(default_factory=list)
    problems: dict[str, Problem] = field(default_factory=dict)
    """Problems by the pair's name."""


def make_plan(
    pairs: Sequence[Pair], settings: JudgeSettings, ledger: JudgeLedger, *, progress: bool
) -> JudgePlan:
    """Look up each view in the ledger; of those not there read the images' headers."""
    plan = JudgePlan(settings, ledger, ImageParts(settings))
    seen: set[JudgeQuestion] = set()
    with ledger.connection:
        for pair in track(pairs, len(pairs), "comparing pictures", shown=progress):
            try:
                views = _views(plan, pair)
                for view in views:
                    _look_up(view, seen)
            except (Diffusion4kError, OSError) as error:
                reason = str(getattr(error, "strerror", None) or error)
                plan.problems[pair.name] = Problem(pair.name, reason)
    return plan


def verdicts_of(stored: StoredAnswer, asked: Sequence[str]) -> dict[str, Verdict]:
    """What a stored answer says.

    Raises:
        Unparsable: it cannot be read.
    """
    return read_verdicts(stored.text, asked, refusal=stored.refusal, finish=stored.finish)


def estimate(views: Iterable[View], settings: JudgeSettings) -> str:
    """One line: how many requests, about how many tokens, dollars and how much time."""
    views = list(views)
    text = likely_text_tokens(SYSTEM + TEMPLATE)
    return endpoint_estimate(
        f"{counted(len(views), 'request')} for "
        f"{counted(len({view.pair for view in views}), 'pair')} in both orders",
        [view.tokens for view in views],
        settings.endpoint,
        used=sum(v.image_tokens + text + likely_text_tokens(v.pair.prompt) for v in views),
        written=len(views) * _TOKENS_PER_ANSWER,
        seconds=_SECONDS_PER_ANSWER,
    )


def _views(plan: JudgePlan, pair: Pair) -> list[View]:
    hashes = [plan.ledger.hash_of(path) for path in pair.paths]
    if hashes[0] == hashes[1]:
        raise Diffusion4kError("both are the same image: nothing to judge")
    views = []
    for patch in range(_patches(plan.settings, pair) + 1):
        for first in (0, 1):
            question = JudgeQuestion(
                hashes[first],
                hashes[1 - first],
                text_hash(pair.prompt),
                text_hash(SYSTEM + TEMPLATE),
                plan.settings.endpoint.model,
                _how(plan.settings, patch),
            )
            views.append(View(plan, pair, first, patch, question))
    return views


def _patches(settings: JudgeSettings, pair: Pair) -> int:
    """Number of patches: as many as requested, if they fit."""
    if not settings.patches:
        return 0
    first, second = (image_size(path) for path in pair.paths)
    return min(
        settings.patches, room(first, second, patch_side(first, second, settings.patch_side))
    )


def _how(settings: JudgeSettings, patch: int) -> str:
    how: dict[str, object] = settings.image.model_dump()
    if patch:
        del how["longest"]
        how |= {"patch": patch, "side": settings.patch_side}
    return json.dumps(how, sort_keys=True)


def _look_up(view: View, seen: set[JudgeQuestion]) -> None:
    plan, wanted = view.plan, view.plan.settings
    plan.views.append(view)
    if view.question in seen:
        return
    seen.add(view.question)
    if stored := plan.ledger.stored(view.question):
        view.attempts = stored.attempts
        try:
            verdicts_of(stored, view.asked)
            return
        except Unparsable as why:
            view.reason = str(why)
    if view.attempts >= wanted.tries:
        return
    sizes = [image_size(path) for path in view.pair.paths]
    if view.patch:
        side = patch_side(sizes[0], sizes[1], wanted.patch_side)
        sent = [(side, side)] * 2
    else:
        sent = [sent_size(*size, wanted.image.longest) for size in sizes]
    model, detail = wanted.endpoint.model, wanted.image.detail
    view.image_tokens = sum(image_tokens(model, *size, detail) for size in sent)
    text = text_tokens_at_most(SYSTEM) + text_tokens_at_most(judge_text(view.pair.prompt))
    view.tokens = view.image_tokens + text
    plan.open.append(view)
