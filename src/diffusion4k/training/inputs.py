"""What a run is made of besides its recipe, which only names it: weights, photographs, own code.

Every checkpoint notes what stood there (`inputs` in its `state.json`), and a run that resumes
compares: files that were replaced under the same path give another run, as another recipe does.
"""

import hashlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from diffusion4k.data.fingerprint import FileHashes
from diffusion4k.data.folder import photo_folder, rows_of
from diffusion4k.data.metadata import Row
from diffusion4k.data.reader import HASHES, LatentCache
from diffusion4k.errors import UsageError
from diffusion4k.lora import read_adapter
from diffusion4k.sampling.fingerprint import fingerprint
from diffusion4k.support.wording import counted
from diffusion4k.training.checkpoint.checkpoint import NotedInputs, read_state
from diffusion4k.training.recipe.own_parts import codes_of
from diffusion4k.training.recipe.recipe import Recipe

__all__ = [
    "DIGITS",
    "Inputs",
    "file_ends",
    "inputs_of",
    "photographs_of",
    "require_same_inputs",
]

DIGITS = 16
_END = 1 << 14
_ABSENT = "-" * DIGITS


@dataclass(frozen=True)
class Inputs:
    """What the paths of a recipe lead to.

    Attributes:
        weights: hash of the files behind each key of the recipe that leads to weights.
        source: `data` or `cache`, the key that leads to the photographs.
        code: hash of the file that each class of one's own stands in.
        photographs: hash of the picture, hash of the caption and file name, in training's order.
    """

    weights: dict[str, str]
    source: Literal["data", "cache"]
    photographs: list[str]
    code: dict[str, str] = field(default_factory=dict)

    def state(self) -> dict[str, object]:
        """Entries for `state.json`: a line for each photograph."""
        return {"weights": self.weights, "code": self.code, self.source: self.photographs}

    def changes(self, state: NotedInputs, step: int) -> list[str]:
        """How it differs from what was noted at a step, in words."""
        before = state.get("weights", {})
        changes = [
            f"{key}: other weights than at step {step}"
            for key, found in self.weights.items()
            if before.get(key, found) != found
        ]
        code = state.get("code", {})
        changes += [
            f"{name}: its module has changed since step {step}"
            for name, found in self.code.items()
            if code.get(name, found) != found
        ]
        noted = state.get(self.source, self.photographs)
        if noted != self.photographs:
            changes.append(_ofphotographs_of(self.source, noted, self.photographs, step))
        return changes


def inputs_of(recipe: Recipe, model: Path) -> Inputs:
    """What a fine-tuning of a transformer is made of; `model` is the folder of the recipe's.

    With a complete cache photographs are not read again, nor is a file whose hash the cache
    remembers.

    Raises:
        Diffusion4kError: no photographs, or no cache where it is all that is trained from.
    """
    weights, cache_folder = {"model": fingerprint(model)}, recipe.cache_folder
    for number, each in enumerate(recipe.lora.start if recipe.lora else ()):
        weights[f"lora.start[{number}]"] = read_adapter(each.file).fingerprint
    code = codes_of(recipe)
    if recipe.data is None or isinstance(cache_folder, str):
        cache = LatentCache(cache_folder)
        cached = [
            f"{' '.join(cache.checksums(number))} {cache.file_name(number)}"
            for number in range(len(cache))
        ]
        return Inputs(weights, "cache", cached, code)
    digest = file_ends if recipe.uncached else FileHashes(cache_folder / HASHES).sha256
    photographs = list(photographs_of(photo_folder(recipe.data), digest))
    return Inputs(weights, "data", photographs, code)


def require_same_inputs(checkpoint: Path, inputs: Inputs, *, changed: bool) -> None:
    """Compare with what a checkpoint notes; one of an older version notes nothing.

    Args:
        changed: differences are reported, and no reason to refuse.

    Raises:
        UsageError: they differ, and are not meant to.
    """
    state = read_state(checkpoint)
    changes = "; ".join(inputs.changes(state.get("inputs", {}), state["step"]))
    if not changes:
        return
    if not changed:
        raise UsageError(
            f"{checkpoint}: what the recipe's paths lead to has changed since: {changes}: put it "
            "back, choose another output, or train anyway with --changed-inputs"
        )
    print(f"resuming with changed inputs: {changes}", file=sys.stderr, flush=True)


def photographs_of(folder: Path, digest: Callable[[Path], str]) -> Iterator[str]:
    """A line for each photograph of a folder: hash of picture and caption, and the name."""
    for row in rows_of(folder):
        if isinstance(row, Row):
            path = folder / row.file_name
            picture = digest(path)[:DIGITS] if path.is_file() else _ABSENT
            caption = hashlib.sha256(row.text.encode()).hexdigest()[:DIGITS]
            yield f"{picture} {caption} {row.file_name}"


def file_ends(path: Path) -> str:
    """Hash of a file's size, beginning and end: of a compressed picture that is enough."""
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        digest.update(file.read(_END))
        file.seek(max(size - _END, 0))
        digest.update(file.read(_END))
    return digest.hexdigest()


def _ofphotographs_of(source: str, before: list[str], after: list[str], step: int) -> str:
    old, new = ({name: rest for *rest, name in map(_parts, each)} for each in (before, after))
    both = [name for name in new if name in old]
    counts = {
        "missing now": len(old.keys() - new.keys()),
        "new": len(new.keys() - old.keys()),
        "with another picture": sum(old[name][0] != new[name][0] for name in both),
        "with another caption": sum(old[name][1] != new[name][1] for name in both),
    }
    parts = [f"{count} {what}" for what, count in counts.items() if count] or ["in another order"]
    return (
        f"{source}: {counted(len(after), 'photograph')}, {len(before)} at step {step}: "
        f"{', '.join(parts)}"
    )


def _parts(line: str) -> list[str]:
    return line.split(" ", 2)
