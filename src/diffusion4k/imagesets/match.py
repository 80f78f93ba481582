"""Which images of several models belong together: those of one file name, or of one prompt.

By name: file names without their endings. By prompt: the prompt, and the seed if that finds
partners too; where a model has several images of one prompt (and seed), the first belongs to the
first of the other, in the order of their names, and so on.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from diffusion4k.errors import Diffusion4kError
from diffusion4k.imagesets.models import ImageSetEntry, Model

__all__ = ["Match", "MatchedRow", "match_images"]

Match: TypeAlias = Literal["auto", "name", "prompt"]
_Key: TypeAlias = tuple[str | int | None, ...]
_NOTHING: _Key = ()


@dataclass(frozen=True)
class MatchedRow:
    """One image of each model, in the models' order; None where a model has none."""

    prompt: str
    """Prompt of the first image that has one, else the file name."""
    entries: tuple[ImageSetEntry | None, ...]

    @property
    def first(self) -> ImageSetEntry:
        """The first image that is there."""
        return next(entry for entry in self.entries if entry)


def match_images(models: Sequence[Model], match: Match = "auto") -> list[MatchedRow]:
    """Rows in the order of the first model's images, then those that only others have.

    `auto` takes names if models share some and their prompts do not contradict, else prompts.

    Raises:
        Diffusion4kError: no image of one model has a partner in another.
    """
    ways: list[Callable[[Sequence[Model]], list[MatchedRow]]] = []
    if match == "prompt" or (match == "auto" and _names_contradict(models)):
        ways = [_by_prompt_and_seed, _by_prompt]
    elif match == "name":
        ways = [_by_name]
    else:
        ways = [_by_name, _by_prompt_and_seed, _by_prompt]
    fits = [rows for rows in (way(models) for way in ways) if len(models) == 1 or _joined(rows)]
    if fits:
        # The first way in which most models find a partner: seeds may be known of some alone.
        return max(fits, key=_joined)
    what = {"name": "file name", "prompt": "prompt"}.get(match, "file name or prompt")
    folders = " and ".join(str(model.folder) for model in models)
    raise Diffusion4kError(
        f"{folders}: no two images share a {what}: give "
        "them the same name, or write their prompts into metadata.jsonl "
        '({"file_name": ..., "text": ...})'
    )


def _joined(rows: Sequence[MatchedRow]) -> int:
    """How many models have an image beside one of another."""
    together = [row.entries for row in rows if len(list(filter(None, row.entries))) > 1]
    return len({index for entries in together for index, e in enumerate(entries) if e})


def _names_contradict(models: Sequence[Model]) -> bool:
    prompts: dict[str, str] = {}
    for model in models:
        for entry in model.entries:
            if entry.prompt and prompts.setdefault(entry.name, entry.prompt) != entry.prompt:
                return True
    return False


def _by_name(models: Sequence[Model]) -> list[MatchedRow]:
    return _rows(models, lambda entry: (entry.name,))


def _by_prompt_and_seed(models: Sequence[Model]) -> list[MatchedRow]:
    return _rows(models, lambda e: (e.prompt, e.seed) if e.prompt else _NOTHING)


def _by_prompt(models: Sequence[Model]) -> list[MatchedRow]:
    return _rows(models, lambda e: (e.prompt,) if e.prompt else _NOTHING)


def _rows(models: Sequence[Model], key: Callable[[ImageSetEntry], _Key]) -> list[MatchedRow]:
    found: dict[_Key, list[ImageSetEntry | None]] = {}
    for index, model in enumerate(models):
        times: Counter[_Key] = Counter()
        for entry in model.entries:
            own = key(entry)
            # An image of which nothing is known stands alone.
            place = (*own, times[own]) if own != _NOTHING else (index, entry.file_name)
            times[own] += 1
            found.setdefault(place, [None] * len(models))[index] = entry
    return [_row(entries) for entries in found.values()]


def _row(entries: list[ImageSetEntry | None]) -> MatchedRow:
    there = [entry for entry in entries if entry]
    prompt = next((entry.prompt for entry in there if entry.prompt), there[0].name)
    return MatchedRow(prompt, tuple(entries))
