"""What a report is given: files of answers, or the YAML file of a study."""

from dataclasses import dataclass
from pathlib import Path

from diffusion4k.preference.answers import Answer, read_answers

__all__ = ["Given", "read_given"]

_STUDIES = (".yaml", ".yml")


@dataclass(frozen=True)
class Given:
    """Answers, and the titles of the questions, where they are known."""

    answers: list[Answer]
    titles: dict[str, str]


def read_given(file: Path) -> Given:
    """The answers of a file; of a study those of people, and of its judge if there was one.

    Raises:
        UsageError: no such file, or none of answers.
        Diffusion4kError: it cannot be read, or the study has not begun.
    """
    if file.suffix.lower() not in _STUDIES:
        return Given(read_answers(file), {})

    from diffusion4k.web.extra import require_web

    require_web()

    from diffusion4k.preference.judge.run import ANSWERS
    from diffusion4k.preference.study.config import read_study
    from diffusion4k.preference.study.run import answers_in
    from diffusion4k.preference.study.summary import titles_of

    config = read_study(file)
    judged = config.judged / ANSWERS
    answers = answers_in(config, needed=not judged.exists())
    if judged.exists():
        answers += read_answers(judged)
    return Given(answers, titles_of(config))
