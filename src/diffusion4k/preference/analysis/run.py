"""From files of answers to `results.json`, `report.html`, `tables.tex`, `bars.pdf`, `bars.png`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.preference.analysis.agreement import among_people, judge_against_people
from diffusion4k.preference.analysis.figure import write_bars
from diffusion4k.preference.analysis.given import read_given
from diffusion4k.preference.analysis.latex import tables
from diffusion4k.preference.analysis.page import write_page
from diffusion4k.preference.analysis.results import PreferenceResults, RaterGroup
from diffusion4k.preference.analysis.scores import PEOPLE, Ready, Score, ready
from diffusion4k.preference.analysis.wins import position_bias, ranking, win_rates
from diffusion4k.preference.study.questions import PAPER
from diffusion4k.statistics.clusters import FEWEST
from diffusion4k.support.files import write_text

__all__ = ["analyse", "report"]

_TITLES = {question.name: question.title for question in PAPER}


def report(
    files: Sequence[Path],
    out: Path,
    *,
    ours: str | None = None,
    keep_flagged: bool = False,
    tolerated: int | None = None,
) -> PreferenceResults:
    """Analyse answers of people and judges and write everything into `out`.

    That is done also if everybody is left out; then it says who and why.

    Args:
        files: Files of answers, or YAML files of studies: answers are then those in its database
            and those of its judge.
        ours: the model that stands first; by default the one with the most wins.
        keep_flagged: Leave nobody out.
        tolerated: Attention checks that a participant may fail; by default as many as the study
            says.

    Raises:
        UsageError: no file, or no model called `ours`.
        Diffusion4kError: a file cannot be read, or nobody has answered.
    """
    results = analyse(files, ours=ours, keep_flagged=keep_flagged, tolerated=tolerated)
    write_text(out / "results.json", json.dumps(results, indent=2, ensure_ascii=False) + "\n")
    write_text(out / "tables.tex", tables(results))
    write_bars(results, out)
    write_page(results, out / "report.html")
    return results


def analyse(
    files: Sequence[Path],
    *,
    ours: str | None = None,
    keep_flagged: bool = False,
    tolerated: int | None = None,
) -> PreferenceResults:
    """All numbers of the report, as `results.json` holds them."""
    if not files:
        raise UsageError("no answers file given: give at least one .csv, .jsonl or .parquet")
    answers, titles = [], dict(_TITLES)
    for file in files:
        given = read_given(file)
        answers += given.answers
        titles |= given.titles
    if not answers:
        raise Diffusion4kError(
            f"{', '.join(map(str, files))}: nobody has answered yet: report when someone has"
        )
    found = ready(answers, keep_flagged=keep_flagged, tolerated=tolerated)
    order = _order(found, ours)
    people = found.scores.get(PEOPLE, [])
    raters = {answer.participant for answer in found.answers.get(PEOPLE, [])}
    return {
        "files": [file.name for file in files],
        "studies": sorted({a.study for answers in found.answers.values() for a in answers}),
        "models": order,
        "judges": [name for name in found.answers if name != PEOPLE],
        "questions": {name: _title(name, titles) for name in _questions(found, titles)},
        "groups": {name: _group(name, found, order, titles) for name in found.answers},
        "people": {"answered": found.people, "counted": len(raters), "names": sorted(raters)[:1]},
        "among_people": among_people(people),
        "judges_against_people": {
            name: judge_against_people(scores, people)
            for name, scores in found.scores.items()
            if name != PEOPLE and people
        },
        "checks": {
            "answers": found.checks,
            "tolerated": tolerated,
            "kept": keep_flagged,
            "flagged": [asdict(each) for each in found.flagged],
        },
        "one_order_only": found.one_order,
        "fewest_clusters": FEWEST,
    }


def _group(name: str, found: Ready, order: Sequence[str], titles: Mapping[str, str]) -> RaterGroup:
    answers, scores = found.answers[name], found.scores[name]
    everything = _questions(found, titles)
    questions = [q for q in everything if any(score.question == q for score in scores)]
    return {
        "answers": len(answers),
        "participants": len({answer.participant for answer in answers}),
        "prompts": len({score.prompt for score in scores}),
        "about": "prompt" if any(answer.prompt for answer in answers) else "pair of images",
        "win_rates": sorted(
            win_rates(scores, order),
            key=lambda row: (
                order.index(row["model"]),
                order.index(row["against"]),
                questions.index(row["question"]),
            ),
        ),
        "rankings": {
            question: ranking([score for score in scores if score.question == question])
            for question in questions
        },
        "position": sorted(
            position_bias(answers), key=lambda row: everything.index(row["question"])
        ),
    }


def _order(found: Ready, ours: str | None) -> list[str]:
    """Ours, then the models by what share of their scores they won."""
    shares: dict[str, list[float]] = {}
    scores: list[Score] = [score for group in found.scores.values() for score in group]
    for score in scores:
        shares.setdefault(score.model_a, []).append(score.value)
        shares.setdefault(score.model_b, []).append(1 - score.value)
    if ours is not None and shares and ours not in shares:
        raise UsageError(f"no answers about a model {ours!r}: found {', '.join(sorted(shares))}")
    return sorted(shares, key=lambda m: (m != ours, -sum(shares[m]) / len(shares[m]), m))


def _questions(found: Ready, titles: Mapping[str, str]) -> list[str]:
    """Questions, those with titles first, in their order: the paper's, then a study's own."""
    names = {answer.question for answers in found.answers.values() for answer in answers}
    known = [name for name in titles if name in names]
    return known + sorted(names - set(known))


def _title(name: str, titles: Mapping[str, str]) -> str:
    return titles.get(name, name.replace("_", " ").capitalize())
