"""Questions to an endpoint, sent again where that helps, within rate limits and budget.

For each attempt: reserve its greatest possible cost, wait for the rate limits, send, settle. The
sum of what is spent, reserved and perhaps spent never exceeds the budget; where the reservation
does not fit, it is waited until a request under way has turned out cheaper.

The greatest possible cost takes every byte of the text for a token, the picture by the model's
rule, and an answer as long as allowed. Should an endpoint count more input tokens than that, later
reservations are raised in proportion; that is why a run's first request goes alone.

Before the n-th repetition it is waited for 2^(n-1) / 2 seconds, at most 60, times a random number
in [0.5, 1], so that many senders do not return at once; longer if the endpoint says so.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from diffusion4k.endpoint.client import Endpoint, EndpointAnswer
from diffusion4k.endpoint.failures import Failure, Passing
from diffusion4k.endpoint.limits import RateLimits
from diffusion4k.endpoint.prices import Price
from diffusion4k.endpoint.spending import Spending
from diffusion4k.errors import Diffusion4kError

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletionMessageParam as Message

__all__ = ["BudgetReached", "Payment", "Sender"]

Result = TypeVar("Result")

_FIRST_WAIT = 0.5
_LONGEST_WAIT = 60.0
_PATIENCE = 300.0
"""Seconds; an endpoint that asks for more is left alone, as a day's limit is used up."""


class BudgetReached(Diffusion4kError):
    """The next request might cost more than is left."""

    def __init__(self, budget: float, spent: float) -> None:
        super().__init__(
            f"budget of ${budget:.2f} reached (${spent:.4f} spent, the next request may cost more "
            "than is left): finished work is kept, the same command with a higher budget continues"
        )


@dataclass(frozen=True)
class Payment:
    """What an answer cost: its number in the table of requests, tokens, dollars."""

    number: int
    most_tokens: int
    """The greatest number of input tokens that was expected."""
    input_tokens: int
    output_tokens: int
    cost: float


Record = Callable[[EndpointAnswer, Payment], None]


class Sender:
    """Asks an endpoint; used by many tasks at once.

    `scale`, at least 1: by how much an earlier run saw the endpoint count more input tokens than
    the greatest number expected.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        spending: Spending,
        price: Price,
        *,
        scale: float = 1.0,
    ) -> None:
        self.endpoint, self.spending, self.price = endpoint, spending, price
        settings = endpoint.settings
        self.limits = RateLimits(settings.requests_per_minute, settings.tokens_per_minute)
        self.stopping = False
        """Set to have nothing sent again; what is under way comes to its end."""
        self._scale = scale
        self._reserved = 0
        self._under_way: set[asyncio.Task[object] | None] = set()
        self._settled = asyncio.Event()

    def is_under_way(self, task: asyncio.Task[object]) -> bool:
        """Whether a request of this task is with the endpoint, so that it may be billed."""
        return task in self._under_way

    async def ask(
        self, messages: "list[Message]", *, tokens: int, key: str, record: Record
    ) -> EndpointAnswer:
        """The answer, after `record(answer, payment)` has stored it.

        `tokens` is the greatest number of input tokens; `key` the same whenever the same question
        is asked. `record` must call `spending.pay` in the transaction that stores the answer.

        Raises:
            Passing, Unwanted: no answer to this question.
            BudgetReached, Diffusion4kError: no answer to any.
        """
        return await self.repeat(lambda: self._once(messages, tokens, key, record))

    async def repeat(self, attempt: Callable[[], Awaitable[Result]]) -> Result:
        """The first success of `attempt`, tried again after passing failures."""
        turn = 0
        while True:
            try:
                return await attempt()
            except Passing as failure:
                if turn >= self.endpoint.settings.retries or self.stopping:
                    raise
                after = failure.after or 0.0
            if after > _PATIENCE:
                raise Diffusion4kError(
                    f"{self.endpoint.settings.url}: asks to wait for {after:.0f} s: finished work "
                    "is kept, the same command continues later"
                )
            self.limits.pause(after)
            backoff = min(_LONGEST_WAIT, _FIRST_WAIT * 2**turn) * random.uniform(0.5, 1)
            await asyncio.sleep(max(after, backoff))
            turn += 1

    def worst_cost(self, tokens: int) -> float:
        """Dollars to reserve for a request of so many input tokens."""
        return self.price.of(tokens * self._scale, self.endpoint.settings.max_output_tokens)

    def payment(self, number: int, answer: EndpointAnswer, tokens: int) -> Payment:
        """What `answer` cost; where the endpoint does not count, the greatest possible."""
        most_output = self.endpoint.settings.max_output_tokens
        used = tokens if answer.input_tokens is None else answer.input_tokens
        written = most_output if answer.output_tokens is None else answer.output_tokens
        self._scale = max(self._scale, used / tokens)
        return Payment(number, tokens, used, written, self.price.of(used, written))

    async def _once(
        self, messages: "list[Message]", tokens: int, key: str, record: Record
    ) -> EndpointAnswer:
        number = await self._reserve(key, tokens)
        settle: Callable[[int], None] | None = self.spending.strike
        task = asyncio.current_task()
        try:
            # As OpenAI counts against the limit: with the longest possible answer.
            most_output = self.endpoint.settings.max_output_tokens
            await self.limits.wait(round(tokens * self._scale) + most_output)
            self._under_way.add(task)
            settle = self.spending.lose
            answer = await self.endpoint.chat(messages, key=key)
            settle = None  # Should storing fail, the reservation stays and counts as spent.
            record(answer, self.payment(number, answer, tokens))
            return answer
        except (Failure, Diffusion4kError) as failure:
            if settle and not getattr(failure, "perhaps_billed", False):
                settle = self.spending.strike
            raise
        finally:
            if settle:
                settle(number)
            self._under_way.discard(task)
            self._reserved -= 1
            self._settled.set()

    async def _reserve(self, key: str, tokens: int) -> int:
        budget = self.endpoint.settings.budget
        while budget is not None and self.spending.spent + self.worst_cost(tokens) > budget:
            if not self._reserved:
                raise BudgetReached(budget, self.spending.spent)
            self._settled.clear()
            await self._settled.wait()
        self._reserved += 1
        return self.spending.reserve(key, self.worst_cost(tokens))
