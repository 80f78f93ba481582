"""Do people agree with each other, and does a judge agree with people?

Among people: Krippendorff's alpha of the choices (ordinal: a tie lies between the two models).
Judge and people: the share of items (prompt, pair, question) on which both have a preference and
it is the same, people's being that of most; and the correlation of the win rates.
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from diffusion4k.preference.analysis.results import Alpha, JudgeAgreement
from diffusion4k.preference.analysis.scores import Score
from diffusion4k.statistics.agreement import krippendorff_alpha
from diffusion4k.statistics.bootstrap import IntervalJson
from diffusion4k.statistics.clusters import clustered_share
from diffusion4k.statistics.correlation import plcc, srcc

__all__ = ["among_people", "judge_against_people"]

_FEWEST = 3  # win rates for which a correlation is reported
Item = tuple[str, str, str, str]


def among_people(scores: Sequence[Score]) -> list[Alpha]:
    """Alpha by question."""
    rows: list[Alpha] = []
    for question in dict.fromkeys(score.question for score in scores):
        found = [score for score in scores if score.question == question]
        raters = {rater: i for i, rater in enumerate(sorted({s.rater for s in found}))}
        items = {item: i for i, item in enumerate(dict.fromkeys(map(_item, found)))}
        table = np.full((len(raters), len(items)), np.nan)
        for score in found:
            table[raters[score.rater], items[_item(score)]] = score.value
        shared = int(((~np.isnan(table)).sum(0) > 1).sum())
        alpha = krippendorff_alpha(table, "ordinal").as_json()
        rows.append(
            {"question": question, "people": len(raters), "shared_items": shared, "alpha": alpha}
        )
    return rows


def judge_against_people(judge: Sequence[Score], people: Sequence[Score]) -> JudgeAgreement:
    """How far a judge says what people say."""
    theirs, own = _means(people), _means(judge)
    both = [item for item in own if item in theirs]
    decided = [item for item in both if theirs[item] != 0.5 and own[item] != 0.5]
    row: JudgeAgreement = {"items": len(both), "both_decided": len(decided), "questions": []}
    if decided:
        row["same"] = _same(decided, own, theirs)
    for question in dict.fromkeys(item[0] for item in both):
        of = [item for item in decided if item[0] == question]
        if of:
            same = _same(of, own, theirs)
            row["questions"].append({"question": question, "items": len(of), "same": same})
    rates = [(_rate(own, both, key), _rate(theirs, both, key)) for key in _groups(both)]
    row["win_rates"] = len(rates)
    if len(rates) >= _FEWEST:
        judged, said = zip(*rates, strict=True)
        row["plcc"], row["srcc"] = _known(plcc(judged, said)), _known(srcc(judged, said))
    if len(both) >= _FEWEST:
        value = srcc([own[item] for item in both], [theirs[item] for item in both])
        row["srcc_of_items"] = _known(value)
    return row


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value


def _item(score: Score) -> Item:
    return score.question, score.prompt, score.model_a, score.model_b


def _means(scores: Sequence[Score]) -> dict[Item, float]:
    found: dict[Item, list[float]] = defaultdict(list)
    for score in scores:
        found[_item(score)].append(score.value)
    return {item: float(np.mean(values)) for item, values in found.items()}


def _same(items: list[Item], own: dict[Item, float], theirs: dict[Item, float]) -> IntervalJson:
    agree = [float((own[item] > 0.5) == (theirs[item] > 0.5)) for item in items]
    return clustered_share(agree, [[item[1] for item in items]]).as_json()


def _groups(items: list[Item]) -> list[tuple[str, str, str]]:
    return list(dict.fromkeys((item[0], item[2], item[3]) for item in items))


def _rate(means: dict[Item, float], items: list[Item], key: tuple[str, str, str]) -> float:
    return float(np.mean([means[item] for item in items if (item[0], item[2], item[3]) == key]))
