"""Answers of people and of a judge whose preferences are known."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
from scipy.special import ndtr

from diffusion4k.preference.answers import Answer

QUESTIONS = ("visual_aesthetics", "prompt_adherence", "fine_details")
AT = "2026-01-01T00:00:00.000+00:00"


def people(
    liking: Mapping[str, float],
    *,
    number: int = 10,
    prompts: int = 30,
    spread: float = 0.4,
    ties: float = 0.1,
    seed: int = 0,
    questions: Sequence[str] = QUESTIONS,
) -> list[Answer]:
    """Everyone answers everything; people and prompts each have likings of their own."""
    rng = np.random.default_rng(seed)
    own = rng.normal(0, spread, (number, len(liking)))
    of_prompt = rng.normal(0, spread, (prompts, len(liking)))
    answers = []
    for person in range(number):
        for prompt in range(prompts):
            for (i, a), (j, b) in combinations(enumerate(sorted(liking)), 2):
                for question in questions:
                    better = liking[a] - liking[b] + own[person, i] - own[person, j]
                    better += of_prompt[prompt, i] - of_prompt[prompt, j]
                    choice = "model_a" if rng.random() < ndtr(better) else "model_b"
                    choice = "tie" if rng.random() < ties else choice
                    first = (a, b)[int(rng.integers(2))]
                    answers.append(answer(question, prompt, f"p{person}", a, b, first, choice))
    return answers


def judge(
    shares: Mapping[tuple[str, str], float], *, prompts: int = 30, bias: float = 0.2, seed: int = 0
) -> list[Answer]:
    """Both orders of each pair; `shares` of the first model by pair, sorted."""
    rng = np.random.default_rng(seed)
    answers = []
    for prompt in range(prompts):
        for (a, b), share in shares.items():
            for question in QUESTIONS:
                for first, sign in ((a, 0.5), (b, -0.5)):
                    wins = rng.random() < share + sign * bias
                    choice = "model_a" if wins else "model_b"
                    row = answer(question, prompt, "gpt-4o", a, b, first, choice, study="judge")
                    answers.append(row)
    return answers


def answer(
    question: str,
    prompt: int,
    participant: str,
    model_a: str,
    model_b: str,
    first: str,
    choice: str,
    *,
    check: str = "",
    study: str = "pocket",
) -> Answer:
    """A row."""
    return Answer(
        *(study, question, str(prompt + 1), f"prompt {prompt}", participant),
        *(model_a, model_b, first, choice, None if study == "judge" else 3.0, AT, check),  # type: ignore[arg-type]
    )
