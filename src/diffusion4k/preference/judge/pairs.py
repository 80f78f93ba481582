"""Pairs to judge: of each prompt every two of the models that have an image of it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from diffusion4k.data.problems import Problem
from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.imagesets.match import match_images
from diffusion4k.imagesets.models import named_folders, read_models
from diffusion4k.preference.study.config import PairwiseTask, StudyConfig
from diffusion4k.preference.study.pictures import Scenes, find_scenes
from diffusion4k.preference.study.questions import PAPER
from diffusion4k.support.wording import counted

__all__ = ["Pair", "find_pairs", "pairs_of_study"]

_MOST_MODELS = 50
_NO_PROMPT = (
    "the prompt of its images is not known, and the judge needs it: give a file of --prompts, "
    'or write metadata.jsonl ({"file_name": ..., "text": ...})'
)


@dataclass(frozen=True)
class Pair:
    """Two images of one prompt; the models are sorted by name."""

    prompt_id: str
    """Number of the prompt from 1; `3-2` is its second image."""
    prompt: str
    models: tuple[str, str]
    paths: tuple[Path, Path]

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return f"{self.paths[0]} and {self.paths[1]}"


def find_pairs(
    arguments: Sequence[str], prompts: Path | None = None
) -> tuple[list[Pair], list[Problem]]:
    """Pairs of the models given as `FOLDER` or `NAME=FOLDER`, and the images left out.

    `prompts` is a .txt or .jsonl file, whose lines images without prompts follow in the order of
    their names, as in a study.

    Raises:
        UsageError: fewer than two models, no such folder, two models of one name, or prompts that
            do not fit the images.
        Diffusion4kError: no two images belong together, or the prompt of none is known.
    """
    if prompts:
        named = named_folders(arguments, 2, _MOST_MODELS)
        places = {name: str(folder) for name, folder in named.items()}
        return _of_scenes(find_scenes(places, prompts, skip_missing=True), str(prompts))
    models = read_models(arguments, 2, _MOST_MODELS)
    pairs: list[Pair] = []
    problems: list[Problem] = []
    numbers: dict[str, int] = {}
    times: Counter[str] = Counter()
    for row in match_images(models):
        there = {m.name: e for m, e in zip(models, row.entries, strict=True) if e}
        reason = f"no partner for {row.first.path}: the pair is left out"
        problems += [Problem(str(m.folder), reason) for m in models if m.name not in there]
        if len(there) < 2:
            continue
        known = [entry.prompt for entry in there.values() if entry.prompt]
        if not known:
            problems.append(Problem(str(row.first.path), _NO_PROMPT))
            continue
        if len(set(known)) > 1:
            reason = (
                f"images of the same name have other prompts ({known[0][:40]!r}, ...): rename one"
            )
            problems.append(Problem(str(row.first.path), reason))
            continue
        prompt = known[0]
        number = numbers.setdefault(prompt, len(numbers) + 1)
        times[prompt] += 1
        name = f"{number}-{times[prompt]}" if times[prompt] > 1 else str(number)
        pairs += [
            Pair(name, prompt, (first, second), (there[first].path, there[second].path))
            for first, second in combinations(sorted(there), 2)
        ]
    if not pairs:
        folders = ", ".join(str(model.folder) for model in models)
        raise Diffusion4kError(f"{folders}: {_NO_PROMPT}")
    return pairs, problems


def pairs_of_study(config: StudyConfig) -> tuple[list[Pair], list[Problem]]:
    """The pairs that a study shows to people, by the same numbers.

    Raises:
        UsageError: another kind of study, questions that the judge does not ask, or images that do
            not belong together.
        Diffusion4kError: no prompts are known.
    """
    task = config.task
    if not isinstance(task, PairwiseTask):
        raise UsageError(
            f"{config.name}: a study of kind {task.kind}: the judge compares pairs of images, as a "
            "pairwise study does"
        )
    if not {each.name for each in task.questions} & {each.name for each in PAPER}:
        raise UsageError(
            f"{config.name}: asks other questions than the judge, which asks the paper's three: "
            "leave `task.questions` out, or ask only people"
        )
    prompts = Path(task.prompts) if task.prompts else None
    skip = task.missing == "skip"
    return _of_scenes(find_scenes(task.models, prompts, skip_missing=skip), config.name)


def _of_scenes(found: Scenes, source: str) -> tuple[list[Pair], list[Problem]]:
    pairs = [
        Pair(scene.id, scene.prompt, two, (scene.images[two[0]], scene.images[two[1]]))
        for scene in found.scenes
        if scene.prompt
        for two in combinations(sorted(scene.images), 2)
    ]
    if not pairs:
        raise Diffusion4kError(f"{source}: {_NO_PROMPT}")
    without = len(found.scenes) - len({pair.prompt_id for pair in pairs})
    problems = [Problem(source, note) for note in found.notes]
    if without:
        problems.append(Problem(source, f"{counted(without, 'pair')}: {_NO_PROMPT}"))
    return pairs, problems
