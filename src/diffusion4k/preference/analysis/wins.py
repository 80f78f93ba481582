"""Who is preferred: win rates with intervals, the sign test, rankings, and bias for a side.

A win rate is the share of scores for a model, a tie counting half. Its intervals answer different
questions: what would come out with other people, with other prompts, with both? Wilson's takes all
scores for independent and is the narrowest; it is given for comparison with what others publish.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from diffusion4k.errors import UsageError
from diffusion4k.preference.analysis.results import RankedModels, SideBias, WinRate
from diffusion4k.preference.analysis.scores import Score, column
from diffusion4k.preference.answers import Answer
from diffusion4k.statistics.bootstrap import Interval
from diffusion4k.statistics.bradley_terry import rank
from diffusion4k.statistics.clusters import FEWEST, cluster_bootstrap, clustered_share
from diffusion4k.statistics.proportions import sign_test, wilson

__all__ = ["position_bias", "ranking", "win_rates"]


def win_rates(scores: Sequence[Score], order: Sequence[str]) -> list[WinRate]:
    """A row for each pair of models and question; `order` of the models, the first is "ours"."""
    groups: dict[tuple[str, str, str], list[Score]] = defaultdict(list)
    for score in scores:
        one, two = sorted(score.pair, key=order.index)
        groups[one, two, score.question].append(score)
    return [_win_rate(*key, found) for key, found in groups.items()]


def ranking(scores: Sequence[Score]) -> RankedModels:
    """Bradley-Terry strengths of all models by the scores of one question, best first."""
    models = sorted({model for score in scores for model in score.pair})
    first, second = (
        np.array([models.index(model) for model in column(scores, name)])
        for name in ("model_a", "model_b")
    )
    values = [score.value for score in scores]
    clusterings, _ = _clusterings(scores)
    try:
        found = rank(first, second, values, len(models), clusterings)
    except UsageError as why:
        return {"models": [], "note": str(why)}
    note = ""
    if found.separated:
        note = "some models never lost to the others: the distances are lower bounds"
    elif np.isnan(found.low).any():
        note = f"no intervals: fewer than {FEWEST} prompts"
    return {
        "models": [
            {
                "model": models[i],
                "strength": Interval(
                    *map(float, (found.strengths[i], found.low[i], found.high[i]))
                ).as_json(),
            }
            for i in np.argsort(-found.strengths)
        ],
        "note": note,
    }


def position_bias(answers: Iterable[Answer]) -> list[SideBias]:
    """How often the first (left) image was chosen, for each question, ties left out."""
    groups: dict[str, list[Answer]] = defaultdict(list)
    for answer in answers:
        if answer.preferred:
            groups[answer.question].append(answer)
    rows: list[SideBias] = []
    for question, found in groups.items():
        first = [float(answer.preferred == answer.first) for answer in found]
        people = [answer.participant for answer in found]
        prompts = [answer.prompt or answer.prompt_id for answer in found]
        kinds = [people, prompts] if len(set(people)) >= FEWEST else [prompts]
        share = clustered_share(first, kinds)
        rows.append({"question": question, "answers": len(found), "first": share.as_json()})
    return rows


def _win_rate(one: str, two: str, question: str, scores: list[Score]) -> WinRate:
    values = np.array([s.value if s.model_a == one else 1 - s.value for s in scores])
    people, prompts = column(scores, "rater"), column(scores, "prompt")
    clusterings, kind = _clusterings(scores)
    by_person = cluster_bootstrap(values, people) if len(np.unique(people)) > 1 else None
    by_prompt = cluster_bootstrap(values, prompts)
    signs = np.array([np.sign(values[prompts == p].mean() - 0.5) for p in np.unique(prompts)])
    wins, losses = int((signs > 0).sum()), int((signs < 0).sum())
    return {
        "model": one,
        "against": two,
        "question": question,
        "scores": len(values),
        "people": len(np.unique(people)),
        "prompts": len(signs),
        "wins": int((values > 0.5).sum()),
        "ties": int((values == 0.5).sum()),
        "losses": int((values < 0.5).sum()),
        "share": clustered_share(values, clusterings).as_json(),
        "share_over": kind,
        "wilson": wilson(float(values.sum()), len(values)).as_json(),
        "bootstrap_by_prompt": by_prompt.as_json(),
        "bootstrap_by_person": by_person.as_json() if by_person else None,
        "sign_test": {
            "prompts_won": wins,
            "prompts_lost": losses,
            "prompts_even": len(signs) - wins - losses,
            "p": sign_test(wins, losses),
        },
    }


def _clusterings(scores: Sequence[Score]) -> tuple[list[NDArray[np.str_]], str]:
    """Clusters by people and prompts, or by prompts only if there are too few people."""
    people, prompts = column(scores, "rater"), column(scores, "prompt")
    if len(np.unique(people)) >= FEWEST:
        return [people, prompts], "people and prompts"
    return [prompts], "prompts"
