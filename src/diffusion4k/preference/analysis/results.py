"""What `results.json` holds, as types: the numbers behind the page, the tables and the figure."""

from typing import TypedDict

from diffusion4k.statistics.bootstrap import IntervalJson

__all__ = [
    "Alpha",
    "JudgeAgreement",
    "PreferenceResults",
    "RankedModels",
    "RaterGroup",
    "SameChoices",
    "SideBias",
    "WinRate",
    "outcomes",
]


class SignTest(TypedDict):
    """Prompts that a model won and lost, and the probability of that by chance."""

    prompts_won: int
    prompts_lost: int
    prompts_even: int
    p: float


class WinRate(TypedDict):
    """Of two models how often the first was preferred, by one question."""

    model: str
    against: str
    question: str
    scores: int
    people: int
    prompts: int
    wins: int
    ties: int
    losses: int
    share: IntervalJson
    """A tie counts half."""
    share_over: str
    wilson: IntervalJson
    bootstrap_by_prompt: IntervalJson
    bootstrap_by_person: IntervalJson | None
    sign_test: SignTest


class RankedModel(TypedDict):
    """A model and its Bradley-Terry strength, in log-odds."""

    model: str
    strength: IntervalJson


class RankedModels(TypedDict):
    """All models, best first; none, and a note why, where they cannot be compared."""

    models: list[RankedModel]
    note: str


class SideBias(TypedDict):
    """How often the first (left) image was chosen."""

    question: str
    answers: int
    first: IntervalJson


class Alpha(TypedDict):
    """Krippendorff's alpha of a question."""

    question: str
    people: int
    shared_items: int
    alpha: IntervalJson


class SameChoices(TypedDict):
    """The share of items on which a judge prefers what most people prefer."""

    question: str
    items: int
    same: IntervalJson


class _Compared(TypedDict):
    items: int
    both_decided: int
    questions: list[SameChoices]


class JudgeAgreement(_Compared, total=False):
    """How far a judge says what people say; what too few items do not show is absent."""

    same: IntervalJson
    win_rates: int
    plcc: float | None
    srcc: float | None
    srcc_of_items: float | None


class RaterGroup(TypedDict):
    """What people, or one judge, answered."""

    answers: int
    participants: int
    prompts: int
    about: str
    win_rates: list[WinRate]
    rankings: dict[str, RankedModels]
    position: list[SideBias]


class AnsweringPeople(TypedDict):
    """How many people answered and are counted; the name of one of them."""

    answered: int
    counted: int
    names: list[str]


class AttentionChecks(TypedDict):
    """Answers to attention checks, how many may be wrong, and who was flagged."""

    answers: int
    tolerated: int | None
    kept: bool
    flagged: list[dict[str, object]]


class PreferenceResults(TypedDict):
    """Everything."""

    files: list[str]
    studies: list[str]
    models: list[str]
    judges: list[str]
    questions: dict[str, str]
    groups: dict[str, RaterGroup]
    people: AnsweringPeople
    among_people: list[Alpha]
    judges_against_people: dict[str, JudgeAgreement]
    checks: AttentionChecks
    one_order_only: int
    fewest_clusters: int


def outcomes(row: WinRate) -> dict[str, int]:
    """The numbers of wins, ties and losses, by these names."""
    return {"wins": row["wins"], "ties": row["ties"], "losses": row["losses"]}
