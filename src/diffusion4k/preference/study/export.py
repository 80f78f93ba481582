"""What was answered, as rows of files: preferences, ratings or decisions, each that holds now."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from diffusion4k.preference.answers import Answer, Choice, write_answers, write_rows
from diffusion4k.preference.study.config import (
    InspectionTask,
    PairwiseTask,
    RatingTask,
    StudyConfig,
)
from diffusion4k.preference.study.participants import Participant, Presentation
from diffusion4k.preference.study.replies import DECISION, RATING
from diffusion4k.preference.study.state import StudyState
from diffusion4k.preference.study.trust import passed_of

__all__ = ["FORMATS", "answers_of", "export"]

FORMATS = ("csv", "jsonl", "parquet")

_RATING_COLUMNS = ("image", "rater", "rating", "study", "model", "seconds", "at", "flags")
_DECISION_COLUMNS = (
    *("name", "participant", "decision", "reason", "caption", "study", "seconds", "at"),
)


def export(config: StudyConfig, state: StudyState, path: Path) -> int:
    """Write all answers of a study; how many there are.

    Raises:
        UsageError: the file's ending is none of `FORMATS`.
    """
    if isinstance(config.task, RatingTask):
        rows = list(_ratings(config, state))
        write_rows(path, _RATING_COLUMNS, rows, numbers=("rating", "seconds"))
        return len(rows)
    if isinstance(config.task, InspectionTask):
        rows = list(_decisions(config, state))
        write_rows(path, _DECISION_COLUMNS, rows, numbers=("seconds",))
        return len(rows)
    answers = list(answers_of(config, state))
    write_answers(path, answers)
    return len(answers)


def answers_of(config: StudyConfig, state: StudyState) -> Iterator[Answer]:
    """The answers about pairs, those of attention checks among them."""
    task = config.task
    assert isinstance(task, PairwiseTask)
    questions = {question.name: question for question in task.questions}
    for person, shown in _answered(state.people.values()):
        unit = shown.unit
        for question, side in shown.choices.items():
            choice: Choice = "tie"
            if side != "tie":
                # The first of the pair stands left unless the two are swapped.
                choice = "model_a" if (side == "left") != shown.swapped else "model_b"
            yield Answer(
                study=config.name,
                question=question,
                prompt_id=unit.prompt_id,
                prompt=unit.text,
                participant=person.name,
                model_a=unit.models[0],
                model_b=unit.models[1],
                first=unit.models[shown.swapped],
                choice=choice,
                pair_seconds=shown.seconds,
                at=shown.at,
                check=unit.check,
                passed=passed_of(task, shown, questions[question]),
                flags="; ".join(person.flags),
            )


def _ratings(config: StudyConfig, state: StudyState) -> Iterator[dict[str, object]]:
    for person, shown in _answered(state.people.values()):
        yield {
            "image": shown.unit.prompt_id,
            "rater": person.name,
            "rating": float(shown.choices[RATING]),
            "study": config.name,
            "model": shown.unit.models[0],
            "seconds": shown.seconds,
            "at": shown.at,
            "flags": "; ".join(person.flags),
        }


def _decisions(config: StudyConfig, state: StudyState) -> Iterator[dict[str, object]]:
    for person, shown in _answered(state.people.values()):
        yield {
            "name": shown.unit.name,
            "participant": person.name,
            "decision": shown.choices[DECISION],
            "reason": shown.detail.get("reason"),
            "caption": shown.detail.get("caption"),
            "study": config.name,
            "seconds": shown.seconds,
            "at": shown.at,
        }


def _answered(people: Iterable[Participant]) -> Iterator[tuple[Participant, Presentation]]:
    for person in people:
        for shown in person.shown:
            if shown.is_answer:
                yield person, shown
