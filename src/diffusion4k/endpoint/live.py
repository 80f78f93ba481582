"""Questions sent one request each, several at a time, until each has an answer.

They are asked alone until the first answer has come: a wrong key, an unknown model or an endpoint
that is down then costs one request. When the run must stop (budget, key, Ctrl-C), nothing more is
sent, but what is under way is waited for, as it is paid for.
"""

import asyncio
import contextlib
import signal
from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Protocol

from diffusion4k.endpoint.client import EndpointAnswer
from diffusion4k.endpoint.failures import Failure, Passing
from diffusion4k.endpoint.sender import Payment, Sender
from diffusion4k.errors import Diffusion4kError
from diffusion4k.support.progress import Counter

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletionMessageParam as Message

__all__ = ["LiveRun", "Task"]

_PATIENCE = 10
"""Tasks in a row without an answer after which the fault is not theirs."""


class Task(Protocol):
    """Something to ask: a picture to caption, a pair to judge."""

    tokens: int
    """The greatest number of input tokens."""
    reason: str
    """Why there is no usable answer yet."""

    def messages(self) -> "list[Message] | None":
        """What is asked; None if it cannot be asked, which the task has noted itself."""

    def key(self) -> str:
        """The Idempotency-Key of the next attempt."""

    def is_open(self) -> bool:
        """Whether it is to be asked (again)."""

    def record(self, answer: EndpointAnswer, payment: Payment) -> None:
        """Pay for an answer and store it, in one durable transaction."""


class LiveRun:
    """Works off tasks; what is still open after an answer is asked again at once.

    `what` the tasks are called in messages: "pictures".
    """

    def __init__(self, tasks: Iterable[Task], sender: Sender, counter: Counter, what: str) -> None:
        self._waiting = deque(tasks)
        self._sender, self._counter, self._what = sender, counter, what
        self._answered = False
        self._in_a_row = 0
        self._fault: BaseException | None = None
        self._workers: list[asyncio.Task[None]] = []

    async def run(self) -> None:
        """Until no task is left.

        Raises:
            Diffusion4kError: why the run stopped before; the ledger has what was paid.
            KeyboardInterrupt: Ctrl-C.
        """
        try:
            with self._interruptible():
                await self._work(1, alone=True)
                await self._work(self._sender.endpoint.settings.concurrency)
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None
        if self._fault:
            raise self._fault

    async def _work(self, number: int, *, alone: bool = False) -> None:
        self._workers = [asyncio.create_task(self._worker(alone)) for _ in range(number)]
        for result in await asyncio.gather(*self._workers, return_exceptions=True):
            if isinstance(result, Exception):
                self._stop(result)

    async def _worker(self, alone: bool) -> None:
        while self._waiting and not self._fault and not (alone and self._answered):
            task = self._waiting.popleft()
            try:
                await self._ask(task)
            except Failure as failure:
                task.reason = str(failure)
                self._in_a_row += 1
                down = isinstance(failure, Passing) and not self._answered
                if down or self._in_a_row >= _PATIENCE:
                    count = f"{self._in_a_row} {self._what} in a row have no answer, the last: "
                    self._stop(
                        Diffusion4kError(
                            f"{'' if down else count}{failure}: check the endpoint; finished work "
                            "is kept, the same command continues"
                        )
                    )
            except Exception as error:
                self._stop(error)
            self._counter.advance(self._sender.spending.summary)

    async def _ask(self, task: Task) -> None:
        messages = await asyncio.to_thread(task.messages)
        while messages and task.is_open() and not self._fault:
            await self._sender.ask(
                messages,
                tokens=task.tokens,
                key=task.key(),
                record=lambda answer, payment: self._record(task, answer, payment),
            )

    def _record(self, task: Task, answer: EndpointAnswer, payment: Payment) -> None:
        task.record(answer, payment)
        self._answered, self._in_a_row = True, 0

    def _stop(self, fault: BaseException) -> None:
        """Send nothing more; tasks that are not waiting for an answer end at once."""
        self._fault = self._fault or fault
        self._sender.stopping = True
        for worker in self._workers:
            if not self._sender.is_under_way(worker) and worker is not asyncio.current_task():
                worker.cancel()

    @contextlib.contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Ctrl-C stops the run; a second time leaves at once."""
        loop, main = asyncio.get_running_loop(), asyncio.current_task()
        assert main

        def interrupt() -> None:
            if self._fault:
                main.cancel()
                return
            self._counter.say("stopping: waiting for answers under way; Ctrl-C again exits at once")
            self._stop(KeyboardInterrupt())

        try:
            loop.add_signal_handler(signal.SIGINT, interrupt)
        except (NotImplementedError, RuntimeError, ValueError):
            yield  # Not the main thread, or Windows: Ctrl-C leaves at once.
            return
        try:
            yield
        finally:
            loop.remove_signal_handler(signal.SIGINT)
