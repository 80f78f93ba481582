"""Captions one request a picture, several at a time.

Pictures are asked about alone until the first answer has come: a wrong key, an unknown model or an
endpoint that is down then costs one request. When the run must stop (budget, key, Ctrl-C), nothing
more is sent, but what is under way is waited for, as it is paid for.
"""

import asyncio
import contextlib
import signal
from collections import deque
from collections.abc import Iterator

from diffusion4k.curation.captions.flags import flag_of
from diffusion4k.curation.captions.jobs import Job, Plan
from diffusion4k.curation.captions.ledger import Ledger
from diffusion4k.curation.captions.meter import Meter
from diffusion4k.data.problems import Problem
from diffusion4k.endpoint.client import Answer
from diffusion4k.endpoint.failures import Failure, Passing
from diffusion4k.endpoint.sender import Payment, Sender
from diffusion4k.errors import Diffusion4kError

__all__ = ["LiveRun"]

_PATIENCE = 10
"""Pictures in a row without an answer after which the fault is not theirs."""


class LiveRun:
    """Works off the jobs of a plan; flagged answers are asked for again at once."""

    def __init__(self, plan: Plan, ledger: Ledger, sender: Sender, meter: Meter) -> None:
        self._plan, self._ledger, self._sender, self._meter = plan, ledger, sender, meter
        self._waiting = deque(plan.jobs)
        self._answered = False
        self._in_a_row = 0
        self._fault: BaseException | None = None
        self._workers: list[asyncio.Task[None]] = []

    async def run(self) -> None:
        """Until no job is left.

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
            job = self._waiting.popleft()
            try:
                await self._caption(job)
            except Failure as failure:
                job.reason = str(failure)
                self._in_a_row += 1
                down = isinstance(failure, Passing) and not self._answered
                if down or self._in_a_row >= _PATIENCE:
                    count = f"{self._in_a_row} pictures in a row have no answer, the last: "
                    self._stop(
                        Diffusion4kError(
                            f"{'' if down else count}{failure}: check the endpoint; finished work "
                            "is kept, the same command goes on"
                        )
                    )
            except Exception as error:
                self._stop(error)
            self._meter.advance()

    async def _caption(self, job: Job) -> None:
        plan = self._plan
        try:
            messages = await asyncio.to_thread(job.messages, plan.settings)
        except Diffusion4kError as error:
            reason = str(error).removeprefix(f"{job.path}: ")
            plan.problems[job.path] = Problem(str(job.path), reason)
            return
        while job.attempts < plan.settings.tries and not self._fault:
            await self._sender.ask(
                messages,
                tokens=job.tokens,
                key=plan.question.key(job.picture, job.attempts),
                record=lambda answer, payment: self._record(job, answer, payment),
            )
            if not job.reason:
                return

    def _record(self, job: Job, answer: Answer, payment: Payment) -> None:
        plan, endpoint = self._plan, self._sender.endpoint.settings
        flag = flag_of(answer.text, answer.refusal, answer.finish, plan.settings.most_words)
        with self._ledger.durable():
            self._sender.book.pay(payment.number, payment.cost)
            self._ledger.record(
                job.picture, plan.question, job.attempts, flag, answer, payment, endpoint.url
            )
        job.attempts += 1
        job.reason = flag or ""
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
            self._meter.say("stopping: waiting for answers under way; Ctrl-C again leaves at once")
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
