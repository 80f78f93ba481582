"""Captions by the Batch API: submitted in files, fetched when done, perhaps days and runs later.

A batch is written into the ledger before it is created: its name, its pictures, and one reservation
for all of it. Its answers, the payment for each, and the end of the reservation are one
transaction. Killed at any moment, the next run finds the batch by its id or its name.
"""

import asyncio
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from diffusion4k.curation.captions.jobs import CaptionPlan, Job
from diffusion4k.curation.captions.ledger import CaptionLedger
from diffusion4k.data.problems import Problem
from diffusion4k.endpoint import batches
from diffusion4k.endpoint.failures import Failure, NotFound
from diffusion4k.endpoint.refusals import flag_of
from diffusion4k.endpoint.sender import BudgetReached, Sender
from diffusion4k.errors import Diffusion4kError, one_line
from diffusion4k.support.progress import Counter

if TYPE_CHECKING:
    from openai.types import Batch

__all__ = ["BatchRun"]

_ENDED = ("completed", "failed", "expired", "cancelled")


@dataclass(frozen=True)
class _Batch:
    name: str
    id: str | None
    request: int


class BatchRun:
    """Works off the jobs of a plan; flagged answers are asked for again in a further batch."""

    def __init__(
        self, plan: CaptionPlan, ledger: CaptionLedger, sender: Sender, counter: Counter
    ) -> None:
        self._plan, self._ledger, self._sender, self._counter = plan, ledger, sender, counter
        self._jobs = {job.picture: job for job in plan.jobs}

    async def run(self) -> None:
        """Until each job has a caption, or its last answer, or none after two batches.

        Raises:
            Diffusion4kError: why the run stopped before; the ledger has what was paid.
        """
        try:
            self._refuse_others()
            await self._collect()
            while todo := [job for job in self._jobs.values() if self._is_open(job)]:
                fault = await self._submit(todo)
                before = sum(job.attempts for job in todo)
                await self._collect()
                if fault:
                    raise fault
                if sum(job.attempts for job in todo) == before:
                    return
        except Failure as failure:
            raise Diffusion4kError(
                f"{failure}: finished work is kept, the same command continues"
            ) from None

    def _refuse_others(self) -> None:
        """Answers of a batch with other settings would be taken for answers to today's question."""
        query = "SELECT id, endpoint, prompt, model, settings FROM batches"
        for identity, *asked in self._ledger.connection.execute(query).fetchall():
            if tuple(asked) != self._asked():
                raise Diffusion4kError(
                    f"{self._ledger.path}: batch {identity} of model {asked[2]!r} at {asked[0]} "
                    "with other settings is under way: collect it first with those settings"
                )

    def _asked(self) -> tuple[str, str, str, str]:
        question = self._plan.question
        return (
            self._sender.endpoint.settings.url,
            question.prompt,
            question.model,
            question.settings,
        )

    def _is_open(self, job: Job) -> bool:
        bad = job.path in self._plan.problems
        return not bad and job.attempts < self._plan.settings.tries and not self._is_done(job)

    def _is_done(self, job: Job) -> bool:
        return job.attempts > 0 and not job.reason

    async def _submit(self, jobs: list[Job]) -> Diffusion4kError | None:
        """Create batches of as many jobs as the budget lets; why not of all."""
        affordable, fault = self._affordable(jobs)
        waiting = iter(affordable)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "batch.jsonl"
            while True:
                taken = await asyncio.to_thread(self._write, file, waiting)
                if not taken:
                    return fault
                batch = self._note(taken)
                self._adopt(batch, await batches.create_batch(self._sender, file, batch.name))

    def _affordable(self, jobs: list[Job]) -> tuple[list[Job], Diffusion4kError | None]:
        budget, spent = self._sender.endpoint.settings.budget, self._sender.spending.spent
        if budget is None:
            return jobs, None
        total = spent
        for number, job in enumerate(jobs):
            total += self._sender.worst_cost(job.tokens)
            if total > budget:
                return jobs[:number], BudgetReached(budget, spent)
        return jobs, None

    def _write(self, file: Path, jobs: Iterator[Job]) -> list[Job]:
        """Fill a batch's file up to its limits; the jobs in it."""
        taken: list[Job] = []
        plan, endpoint = self._plan, self._sender.endpoint.settings
        with file.open("wb") as out:
            for job in jobs:
                try:
                    messages = job.messages(plan.settings)
                except Diffusion4kError as error:
                    reason = str(error).removeprefix(f"{job.path}: ")
                    plan.problems[job.path] = Problem(str(job.path), reason)
                    continue
                key = plan.question.key(job.picture, job.attempts)
                out.write(batches.batch_line(endpoint, messages, key))
                taken.append(job)
                # One line more must surely fit: a picture of 1536 pixels is far below 2 MB.
                if len(taken) >= batches.MOST_REQUESTS or out.tell() >= batches.MOST_BYTES:
                    break
        return taken

    def _note(self, jobs: list[Job]) -> _Batch:
        """Write a batch down before it is created."""
        connection, plan = self._ledger.connection, self._plan
        batch = f"captions-{uuid.uuid4().hex}"
        rows = [
            (batch, plan.question.key(job.picture, job.attempts), job.picture, job.attempts)
            for job in jobs
        ]
        cost = sum(self._sender.worst_cost(job.tokens) for job in jobs)
        with self._ledger.durable():
            number = self._sender.spending.reserve_many(batch, cost)
            connection.execute(
                "INSERT INTO batches VALUES (?, NULL, ?, ?, ?, ?, ?)",
                (batch, number, *self._asked()),
            )
            connection.executemany(
                "INSERT INTO batch_pictures VALUES (?, ?, ?, ?, ?)",
                [(*row, job.tokens) for row, job in zip(rows, jobs, strict=True)],
            )
        return _Batch(batch, None, number)

    def _adopt(self, batch: _Batch, identity: str) -> _Batch:
        with self._ledger.durable():
            self._ledger.connection.execute(
                "UPDATE batches SET id = ? WHERE name = ?", (identity, batch.name)
            )
        self._counter.say(f"batch {identity}: within 24 h; stop and start again as you like")
        return _Batch(batch.name, identity, batch.request)

    async def _collect(self) -> None:
        """Wait for all batches that the ledger knows of and take their answers."""
        query = "SELECT name, id, request FROM batches"
        faults = []
        for row in self._ledger.connection.execute(query).fetchall():
            batch = _Batch(*row)
            known = batch.id
            if known is None:
                look = partial(batches.find_batch, self._sender, batch.name)
                found = await self._sender.repeat(look)
                if found is None:  # It was never created.
                    self._close(batch, [])
                    continue
                batch, known = self._adopt(batch, found), found
            try:
                ended = await self._wait(known)
            except NotFound:
                raise Diffusion4kError(
                    f"batch {batch.id} is not known at {self._sender.endpoint.settings.url}: use "
                    "the key and the project that made it; to give it up, delete its row in the "
                    f"table `batches` of {self._ledger.path}"
                ) from None
            if ended.status == "failed":
                faults.append(_errors(ended))
            self._close(batch, await batches.results(self._sender, ended))
        if faults:
            raise Diffusion4kError(
                f"a batch was not accepted ({self._sender.endpoint.hide(faults[0])}): finished "
                "work is kept; fix the cause and run the same command"
            )

    async def _wait(self, known: str) -> "Batch":
        while True:
            now = await self._sender.repeat(
                lambda: self._sender.endpoint.call(lambda client: client.batches.retrieve(known))
            )
            if now.status in _ENDED:
                return now
            await asyncio.sleep(self._sender.endpoint.settings.poll)

    def _close(self, batch: _Batch, found: list[batches.BatchResult]) -> None:
        """Store the answers of a batch that has ended, and forget it, in one transaction."""
        plan, endpoint = self._plan, self._sender.endpoint.settings
        connection, spending = self._ledger.connection, self._sender.spending
        query = "SELECT key, picture, attempt, tokens FROM batch_pictures WHERE batch = ?"
        asked = {key: rest for key, *rest in connection.execute(query, (batch.name,)).fetchall()}
        closed = 0
        with self._ledger.durable():
            for result in found:
                if result.key not in asked:
                    continue
                picture, attempt, tokens = asked.pop(result.key)
                job = self._jobs.get(picture)
                if result.answer is None:
                    if job:
                        job.reason = f"no answer in a batch ({result.reason})"
                    continue
                answer = result.answer
                payment = self._sender.payment(batch.request, answer, tokens)
                payment = replace(payment, number=spending.pay_part(result.key, payment.cost))
                flag = flag_of(answer.text, answer.refusal, answer.finish, plan.settings.most_words)
                self._ledger.record(
                    picture, plan.question, attempt, flag, answer, payment, endpoint.url
                )
                if job:
                    job.attempts, job.reason = attempt + 1, flag or ""
                    closed += not self._is_open(job)
            for table, column in (("batch_pictures", "batch"), ("batches", "name")):
                connection.execute(f"DELETE FROM {table} WHERE {column} = ?", (batch.name,))
            spending.release(batch.request)
        for _ in range(closed):
            self._counter.advance(spending.summary)


def _errors(batch: "Batch") -> str:
    errors = getattr(batch.errors, "data", None) or []
    said = "; ".join(str(error.message) for error in errors if error.message)
    return one_line(said or "no reason given", 300)
