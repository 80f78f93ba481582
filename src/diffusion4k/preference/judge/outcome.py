"""What the judge said of all pairs: answers as people give them, and a summary without its bias.

**Position bias.** Judges favour the image that is sent first (or second). Every pair is asked in
both orders, so with a_1 the share of answers for model a when it is first, a_2 when it is second,

    preference  (a_1 + a_2) / 2     a bias that adds to one and takes from the other is gone
    bias        a_1 - a_2           in points of 100

Only pairs with an answer in both orders count. A pair is *consistent* if both name one model.

**Patches** of a pair in one order are one answer: that of most of them, a tie if they are even.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TypeAlias, TypedDict

from diffusion4k.preference.answers import Answer, Choice
from diffusion4k.preference.judge.jobs import DETAILS, JudgePlan, View, verdicts_of
from diffusion4k.preference.judge.pairs import Pair
from diffusion4k.preference.judge.verdicts import Unparsable
from diffusion4k.preference.study.questions import PAPER
from diffusion4k.statistics.bootstrap import Interval, IntervalJson
from diffusion4k.statistics.clusters import clustered_share

__all__ = ["STUDY", "Outcome", "collect", "preferences"]

STUDY = "judge"
"""The study's name in a judge's answers: by it they are known from people's."""

_Key: TypeAlias = tuple[str, str, str, str, int]
"""Models, prompt id, question, and which of the two was sent first."""


@dataclass
class Outcome:
    """Answers in the order of the pairs, and what has none."""

    answers: list[Answer] = field(default_factory=list)
    unparsable: Counter[str] = field(default_factory=Counter)
    """Views whose last answer could not be read, by why."""
    unanswered: list[str] = field(default_factory=list)
    """Why other views have no answer, one line each."""


def collect(plan: JudgePlan) -> Outcome:
    """The answers that the ledger has for the views of a plan."""
    outcome = Outcome()
    votes: dict[_Key, list[tuple[int, float]]] = defaultdict(list)
    owners: dict[_Key, Pair] = {}
    for view in plan.views:
        stored = plan.ledger.stored(view.question)
        if stored is None:
            if view.pair.name not in plan.problems:
                outcome.unanswered.append(f"{view.pair.name}: {view.reason or 'not asked yet'}")
            continue
        try:
            verdicts = verdicts_of(stored, view.asked)
        except Unparsable as why:
            outcome.unparsable[str(why)] += 1
            continue
        for question in _decided(view, plan.settings.patches):
            key: _Key = (*view.pair.models, view.pair.prompt_id, question, view.first)
            chosen = view.first if verdicts[question] == "first" else 1 - view.first
            votes[key].append((chosen, stored.created))
            owners[key] = view.pair
    judge = plan.settings.endpoint.model
    for key, cast in votes.items():
        outcome.answers.append(_answer(owners[key], key[4], key[3], cast, judge))
    return outcome


class _ComparedPair(TypedDict):
    model_a: str
    model_b: str
    question: str
    pairs: int
    pairs_with_one_order: int


class PairPreference(_ComparedPair, total=False):
    """Which of two models a judge prefers by one question; without pairs that is not known."""

    consistent_a: int
    consistent_b: int
    inconsistent: int
    preference_a: IntervalJson
    first_chosen: IntervalJson
    position_bias_points: IntervalJson


def preferences(answers: Iterable[Answer]) -> list[PairPreference]:
    """For each two models and question, preference without position bias, and the bias."""
    grouped: dict[tuple[str, str, str], dict[str, dict[str, Answer]]] = {}
    for answer in answers:
        pairs = grouped.setdefault((answer.model_a, answer.model_b, answer.question), {})
        pairs.setdefault(answer.prompt_id, {})[answer.first] = answer
    return [_preference(key, pairs) for key, pairs in grouped.items()]


def _decided(view: View, patches: int) -> list[str]:
    """The questions that a view's answer decides: patches, where there are any, decide details."""
    if view.patch:
        return [DETAILS]
    return [q.name for q in PAPER if not (patches and q.name == DETAILS)]


def _answer(
    pair: Pair, first: int, question: str, cast: list[tuple[int, float]], judge: str
) -> Answer:
    second_votes = sum(chosen for chosen, _ in cast)
    first_votes = len(cast) - second_votes
    choice: Choice = "tie"
    if first_votes != second_votes:
        choice = "model_a" if first_votes > second_votes else "model_b"
    at = datetime.fromtimestamp(max(when for _, when in cast), timezone.utc)
    return Answer(
        STUDY,
        question,
        pair.prompt_id,
        pair.prompt,
        judge,
        *pair.models,
        pair.models[first],
        choice,
        None,
        at.isoformat(timespec="milliseconds"),
    )


def _preference(
    key: tuple[str, str, str], pairs: Mapping[str, dict[str, Answer]]
) -> PairPreference:
    model_a, model_b, question = key
    both = {name: by for name, by in pairs.items() if len(by) == 2}
    found: PairPreference = {
        "model_a": model_a,
        "model_b": model_b,
        "question": question,
        "pairs": len(both),
        "pairs_with_one_order": len(pairs) - len(both),
    }
    if not both:
        return found
    when_first = [_score(by[model_a]) for by in both.values()]
    when_second = [_score(by[model_b]) for by in both.values()]
    scores = [(a + b) / 2 for a, b in zip(when_first, when_second, strict=True)]
    first_chosen = [(a + 1 - b) / 2 for a, b in zip(when_first, when_second, strict=True)]
    prompts = [next(iter(by.values())).prompt for by in both.values()]
    share = clustered_share(first_chosen, [prompts])
    bias = Interval(*(200 * each - 100 for each in (share.value, share.low, share.high)))
    return {
        **found,
        "consistent_a": sum(score == 1 for score in scores),
        "consistent_b": sum(score == 0 for score in scores),
        "inconsistent": sum(0 < score < 1 for score in scores),
        "preference_a": clustered_share(scores, [prompts]).as_json(),
        "first_chosen": share.as_json(),
        "position_bias_points": bias.as_json(),
    }


def _score(answer: Answer) -> float:
    return {"model_a": 1.0, "tie": 0.5, "model_b": 0.0}[answer.choice]
