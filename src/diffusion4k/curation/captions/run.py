"""Captions for pictures: the one function behind the command line and the curation's step."""

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from diffusion4k.curation.captions.batched import BatchRun
from diffusion4k.curation.captions.jobs import CaptionPlan, estimate, make_plan
from diffusion4k.curation.captions.ledger import CaptionLedger
from diffusion4k.curation.captions.live import CaptionTask
from diffusion4k.curation.captions.settings import CaptionSettings
from diffusion4k.data.problems import Problem
from diffusion4k.endpoint.client import Endpoint
from diffusion4k.endpoint.live import LiveRun
from diffusion4k.endpoint.prices import price_of
from diffusion4k.endpoint.sender import Sender
from diffusion4k.errors import Diffusion4kError
from diffusion4k.support.progress import Counter
from diffusion4k.support.wording import counted

__all__ = ["CaptionReport", "CaptioningStopped", "caption"]


@dataclass
class CaptionReport:
    """What came of the pictures."""

    captions: dict[Path, str] = field(default_factory=dict)
    flagged: dict[Path, str] = field(default_factory=dict)
    """Why a picture's last answer is no caption: refused, empty, long."""
    problems: list[Problem] = field(default_factory=list)
    """Pictures that cannot be read, or that the endpoint did not answer."""
    spent: float = 0.0
    """Dollars, over all runs with this ledger."""
    lost: tuple[int, float] = (0, 0.0)
    """Requests perhaps billed without an answer, and their dollars, which are in `spent`."""

    @property
    def without_caption(self) -> bool:
        """Whether a picture is left without a caption."""
        return bool(self.problems) or not self.flagged.keys() <= self.captions.keys()

    @property
    def summary(self) -> str:
        """Counts and money, in one line."""
        line = f"{counted(len(self.captions), 'caption')}, {len(self.flagged)} flagged, "
        line += f"{counted(len(self.problems), 'problem')}; ${self.spent:.4f} spent in total"
        number, cost = self.lost
        if number:
            line += f", of it ${cost:.4f} for {counted(number, 'request')} whose answer was lost"
        return line

    def lines(self) -> list[str]:
        """The report as text, each picture without a caption by its name."""
        lines = [f"flagged: {path}: {flag}" for path, flag in self.flagged.items()]
        lines += [f"bad: {problem}" for problem in self.problems]
        return [*lines, self.summary]


class CaptioningStopped(Diffusion4kError):
    """Captioning ended before all pictures were asked about; `report` has what is finished."""

    def __init__(self, cause: Diffusion4kError, report: CaptionReport) -> None:
        super().__init__(str(cause))
        self.exit_code, self.report = cause.exit_code, report


def caption(
    pictures: Sequence[Path],
    settings: CaptionSettings,
    ledger: str | Path,
    *,
    progress: bool = True,
) -> CaptionReport:
    """Caption pictures through an endpoint; what the ledger file has is not asked again.

    Pictures of the same bytes are asked about once. A picture that cannot be read, or that the
    endpoint does not answer, is reported, and the others continue.

    Raises:
        UsageError: no key for OpenAI's endpoint, or a budget without a price.
        Stopped: wrong key, unknown model, endpoint down, budget reached: `report` has the rest.
        Diffusion4kError: the ledger is in use, damaged, or the disk is full.
    """
    price_of(settings.endpoint)
    with CaptionLedger(ledger) as opened, opened.translating_errors():
        if opened.has_batches and not settings.endpoint.batch:
            raise Diffusion4kError(
                f"{opened.path}: a batch is under way: collect it first, with --batch"
            )
        plan = make_plan(pictures, settings, opened, progress=progress)
        stopped: Diffusion4kError | None = None
        if plan.jobs or opened.has_batches:
            opened.remember_prompt(settings.prompt)
            if progress:
                print(estimate(plan.jobs, settings), file=sys.stderr, flush=True)
            try:
                asyncio.run(_work(plan, opened, progress))
            except Diffusion4kError as error:
                stopped = error
        report = _report(plan, opened)
    if stopped:
        raise CaptioningStopped(stopped, report) from stopped
    return report


async def _work(plan: CaptionPlan, ledger: CaptionLedger, progress: bool) -> None:
    settings = plan.settings.endpoint
    async with Endpoint(settings) as endpoint:
        scale = ledger.scale(model=plan.question.model, settings=plan.question.settings)
        sender = Sender(endpoint, ledger.spending, price_of(settings), scale=scale)
        total = len(plan.jobs)
        with Counter("captions", total, shown=progress) as counter:
            if settings.batch:
                await BatchRun(plan, ledger, sender, counter).run()
                return
            tasks = [CaptionTask(job, plan, ledger) for job in plan.jobs]
            await LiveRun(tasks, sender, counter, "pictures").run()


def _report(plan: CaptionPlan, ledger: CaptionLedger) -> CaptionReport:
    report = CaptionReport(spent=ledger.spending.spent, lost=ledger.spending.lost())
    reasons = {job.picture: job.reason for job in plan.jobs}
    # A copy of a picture that cannot be read cannot be read either.
    reasons |= {plan.hashes.get(path, ""): bad.reason for path, bad in plan.problems.items()}
    for path, picture in plan.hashes.items():
        stored = ledger.stored(picture, plan.question, plan.settings.most_words)
        if path in plan.problems:
            continue
        if stored is None or not (stored.flag is None or plan.is_settled(stored)):
            reason = reasons.get(picture) or "not asked about yet"
            plan.problems[path] = Problem(str(path), reason)
            continue
        if stored.flag is None or (plan.settings.keep_flagged and stored.flag != "empty"):
            report.captions[path] = " ".join(stored.text.split())
        if stored.flag is not None:
            report.flagged[path] = stored.flag
    report.problems = list(plan.problems.values())
    return report
