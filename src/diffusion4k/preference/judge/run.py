"""Judging: the one function behind the command line, and what it writes.

OUT/judge.sqlite      every paid answer (`judge.ledger`)
OUT/answers.jsonl     one row per pair, order and question (`preference.answers`), and .parquet
OUT/summary.json      preferences without position bias, the bias, counts, money
"""

import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from diffusion4k.data.problems import Problem
from diffusion4k.endpoint.client import Endpoint
from diffusion4k.endpoint.ledger import scratch_copy, text_hash
from diffusion4k.endpoint.live import LiveRun
from diffusion4k.endpoint.prices import price_of
from diffusion4k.endpoint.sender import Sender
from diffusion4k.errors import Diffusion4kError
from diffusion4k.preference.answers import write_answers
from diffusion4k.preference.judge.jobs import JudgePlan, estimate, make_plan
from diffusion4k.preference.judge.ledger import JudgeLedger
from diffusion4k.preference.judge.outcome import Outcome, PairPreference, collect, preferences
from diffusion4k.preference.judge.pairs import Pair, find_pairs, pairs_of_study
from diffusion4k.preference.judge.prompt import SYSTEM, TEMPLATE, JudgeSettings
from diffusion4k.preference.study.config import StudyConfig
from diffusion4k.support.files import write_text
from diffusion4k.support.progress import Counter
from diffusion4k.support.wording import counted

__all__ = [
    "ANSWERS",
    "LEDGER",
    "SUMMARY",
    "JudgeReport",
    "JudgingStopped",
    "estimate_judging",
    "judge",
]

LEDGER, ANSWERS, SUMMARY = "judge.sqlite", "answers.jsonl", "summary.json"


class JudgeSummary(TypedDict):
    """Content of `summary.json`."""

    judge: str
    endpoint: str
    prompt_sha256: str
    image: dict[str, object]
    patches: int
    patch_side: int | None
    requests: int
    unparsable: dict[str, int]
    unanswered: int
    problems: list[str]
    spent: float
    lost: dict[str, float]
    results: list[PairPreference]


@dataclass(frozen=True)
class JudgeReport:
    """What came of the pairs."""

    outcome: Outcome
    problems: list[Problem]
    """Pairs that cannot be judged, and images without a partner."""
    summary: JudgeSummary
    """Content of `summary.json`."""

    @property
    def complete(self) -> bool:
        """Whether every pair that could be judged has all its answers."""
        return not (self.outcome.unanswered or self.outcome.unparsable or self.problems)

    def lines(self) -> list[str]:
        """The report as text."""
        lines = [f"bad: {problem}" for problem in self.problems]
        lines += [f"no answer: {each}" for each in self.outcome.unanswered[:20]]
        if (more := len(self.outcome.unanswered) - 20) > 0:
            lines.append(f"no answer: {more} more")
        lines += [f"unparsable: {n} answers: {why}" for why, n in self.outcome.unparsable.items()]
        lines += [_line(row) for row in self.summary["results"] if row["pairs"]]
        money = f"${self.summary['spent']:.4f} spent in total"
        return [*lines, f"{len(self.outcome.answers)} answers; {money}"]


class JudgingStopped(Diffusion4kError):
    """Judging ended before all pairs were asked about; `report` has what is finished."""

    def __init__(self, cause: Diffusion4kError, report: JudgeReport) -> None:
        super().__init__(str(cause))
        self.exit_code, self.report = cause.exit_code, report


def judge(
    models: Sequence[str] | StudyConfig,
    settings: JudgeSettings,
    out: Path,
    *,
    prompts: Path | None = None,
    progress: bool = True,
) -> JudgeReport:
    """Judge every two models' images of each prompt; what the ledger has is not asked again.

    Args:
        models: `FOLDER` or `NAME=FOLDER` each; or a study, whose pairs are judged.
        prompts: A file of prompts for images that carry none.

    Raises:
        UsageError: fewer than two models, no such folder, no key for OpenAI's endpoint, or a
            budget without a price.
        Stopped: wrong key, unknown model, endpoint down, budget reached: `report` has the rest.
        Diffusion4kError: no pairs, or the ledger is in use, damaged, or the disk is full.
    """
    price_of(settings.endpoint)
    pairs, problems = _pairs(models, prompts)
    with JudgeLedger(out / LEDGER) as ledger, ledger.translating_errors():
        plan = make_plan(pairs, settings, ledger, progress=progress)
        stopped: Diffusion4kError | None = None
        if plan.open:
            ledger.remember_prompt(f"{SYSTEM}{TEMPLATE}")
            if progress:
                print(estimate(plan.open, settings), file=sys.stderr, flush=True)
            try:
                asyncio.run(_work(plan, progress))
            except Diffusion4kError as error:
                stopped = error
        report = _report(plan, problems)
    _write(report, out)
    if stopped:
        raise JudgingStopped(stopped, report) from stopped
    return report


def estimate_judging(
    models: Sequence[str] | StudyConfig,
    settings: JudgeSettings,
    out: Path,
    *,
    prompts: Path | None = None,
) -> str:
    """What `judge` would cost, in one line; nothing is sent or written.

    Raises:
        UsageError, Diffusion4kError: see `judge`.
    """
    pairs, _ = _pairs(models, prompts)
    with scratch_copy(out / LEDGER) as copy, JudgeLedger(copy) as ledger:
        plan = make_plan(pairs, settings, ledger, progress=True)
        return estimate(plan.open, settings)


def _pairs(
    models: Sequence[str] | StudyConfig, prompts: Path | None
) -> tuple[list[Pair], list[Problem]]:
    if isinstance(models, StudyConfig):
        return pairs_of_study(models)
    return find_pairs(models, prompts)


async def _work(plan: JudgePlan, progress: bool) -> None:
    settings, ledger = plan.settings.endpoint, plan.ledger
    async with Endpoint(settings) as endpoint:
        scale = ledger.scale(model=settings.model)
        sender = Sender(endpoint, ledger.spending, price_of(settings), scale=scale)
        total = len(plan.open)
        with Counter("judgements", total, shown=progress) as counter:
            await LiveRun(plan.open, sender, counter, "pairs").run()


def _report(plan: JudgePlan, problems: list[Problem]) -> JudgeReport:
    outcome = collect(plan)
    problems = [*problems, *plan.problems.values()]
    settings, spending = plan.settings, plan.ledger.spending
    lost, lost_cost = spending.lost()
    summary: JudgeSummary = {
        "judge": settings.endpoint.model,
        "endpoint": settings.endpoint.url,
        "prompt_sha256": text_hash(SYSTEM + TEMPLATE),
        "image": settings.image.model_dump(),
        "patches": settings.patches,
        "patch_side": settings.patch_side if settings.patches else None,
        "requests": len(plan.views),
        "unparsable": dict(sorted(outcome.unparsable.items())),
        "unanswered": len(outcome.unanswered),
        "problems": [str(problem) for problem in problems],
        "spent": spending.spent,
        "lost": {"requests": lost, "dollars": lost_cost},
        "results": preferences(outcome.answers),
    }
    return JudgeReport(outcome, problems, summary)


def _write(report: JudgeReport, out: Path) -> None:
    answers = report.outcome.answers
    write_answers(out / ANSWERS, answers)
    write_answers((out / ANSWERS).with_suffix(".parquet"), answers)
    write_text(out / SUMMARY, json.dumps(report.summary, indent=2, ensure_ascii=False) + "\n")


def _line(row: PairPreference) -> str:
    share, bias = row["preference_a"], row["position_bias_points"]["value"]
    bounds = f" [{_percent(share['low'])}, {_percent(share['high'])}]"
    interval = bounds if share["low"] is not None else ""
    return (
        f"{row['question']}: {row['model_a']} {_percent(share['value'])} %{interval} against "
        f"{row['model_b']}, {counted(row['pairs'], 'pair')}, {row['inconsistent']} inconsistent, "
        f"position bias {'?' if bias is None else f'{bias:+.1f}'} points"
    )


def _percent(share: float | None) -> str:
    return "?" if share is None else f"{100 * share:.1f}"
