"""Images of several models, brought together by their prompts.

The prompt of an image is what the `metadata.jsonl` of its folder says, or else the record that
`diffusion4k generate` writes into its images. Of folders without either, the images in the order of
their names belong to the lines of the prompts file.

Of a prompt with several images (seeds) the first of each model belong together, then the second.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from diffusion4k.data.folder import METADATA, image_files
from diffusion4k.data.images import image_size
from diffusion4k.data.metadata import Row, read_rows
from diffusion4k.data.progress import track
from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.sampling.files import read_metadata
from diffusion4k.sampling.request import read_prompts

__all__ = ["Scene", "Scenes", "find_scenes", "folder_images"]


@dataclass(frozen=True)
class Scene:
    """One prompt and the images that the models made of it."""

    id: str
    """Number of the prompt from 1; `3b` is its second image."""
    prompt: str
    images: dict[str, Path]
    """By model."""


@dataclass(frozen=True)
class Scenes:
    """All scenes of a study, and what is worth to be told about them."""

    scenes: list[Scene]
    notes: list[str]


def folder_images(model: str, folder: Path) -> list[Path]:
    """The images of a folder, by name.

    Raises:
        UsageError: there is no such folder, or no image in it.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder: give the images of {model}")
    if not (found := list(image_files(folder))):
        raise UsageError(f"{folder}: no image in it: give the images of {model}")
    return found


def find_scenes(
    models: Mapping[str, Path], prompts: Path | None, *, skip_missing: bool = False
) -> Scenes:
    """The scenes of the models' folders.

    Raises:
        UsageError: a folder without images, a prompt given twice, images without prompts, or a
            model without an image of some prompt (unless `skip_missing`).
    """
    files = {model: folder_images(model, folder) for model, folder in models.items()}
    wanted = _distinct(prompts) if prompts else None
    by_prompt = {
        model: _by_prompt(model, models[model], found, wanted, prompts)
        for model, found in files.items()
    }
    # Without a file of prompts, in the order in which they are met.
    order = wanted or list(dict.fromkeys(p for found in by_prompt.values() for p in found))
    scenes, missing = [], []
    for number, prompt in enumerate(order, start=1):
        most = max(len(found.get(prompt, ())) for found in by_prompt.values())
        for index in range(max(most, 1)):
            have = {m: f[prompt][index] for m, f in by_prompt.items() if len(f[prompt]) > index}
            if len(have) == len(models):
                scenes.append(Scene(f"{number}{_letters(index)}", prompt, have))
            else:
                lacking = next(m for m in models if m not in have)
                missing.append(f"{models[lacking]}: no image of prompt {number}: {prompt[:60]!r}")
    if missing and not (skip_missing and scenes):
        others = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise UsageError(f"{missing[0]}{others}: make it, or say `missing: skip`")
    notes = [f"{len(missing)} scenes left out, as a model has no image of them"] if missing else []
    return Scenes(scenes, notes + _unequal(scenes))


def _distinct(path: Path) -> list[str]:
    prompts = read_prompts(path)
    first: dict[str, int] = {}
    for number, prompt in enumerate(prompts, start=1):
        if first.setdefault(prompt, number) != number:
            raise UsageError(
                f"{path}: prompt {number} repeats prompt {first[prompt]}, {prompt[:60]!r}: keep "
                "one of them"
            )
    return prompts


def _by_prompt(
    model: str, folder: Path, files: list[Path], wanted: list[str] | None, prompts: Path | None
) -> dict[str, list[Path]]:
    """Images of each prompt; a prompt without any gives an empty list."""
    texts = _captions(folder) or _records(files, model)
    found: dict[str, list[Path]] = defaultdict(list)
    if not texts:
        if wanted is None:
            raise UsageError(
                f"{folder}: its images carry no prompts: add {METADATA}, or a file of `prompts`"
            )
        if len(files) != len(wanted):
            raise UsageError(
                f"{folder}: {len(files)} images that carry no prompts, {len(wanted)} prompts in "
                f"{prompts}: give one image for each, or add {METADATA}"
            )
        texts = dict(zip(files, wanted, strict=True))
    there = set(files)
    for path, text in texts.items():
        if path in there:
            found[text].append(path)
    return found


def _captions(folder: Path) -> dict[Path, str]:
    if not (folder / METADATA).is_file():
        return {}
    rows = (row for row in read_rows(folder / METADATA) if isinstance(row, Row))
    return {folder / row.file_name: row.text for row in rows if row.text}


def _records(files: list[Path], model: str) -> dict[Path, str]:
    found: dict[Path, tuple[int, str]] = {}
    for path in track(files, len(files), f"reading prompts of {model}"):
        try:
            record = read_metadata(path)
        except Diffusion4kError:
            continue
        found[path] = int(record.get("seed", 0)), str(record.get("prompt", "")).strip()
    # Of one prompt, images with equal seeds belong together.
    return {path: found[path][1] for path in sorted(found, key=lambda p: (found[p][0], p))}


def _letters(index: int) -> str:
    """Nothing, then b, c, ..., z, then 27, 28, ..."""
    return "" if index == 0 else chr(ord("a") + index) if index < 26 else f"-{index + 1}"


def _unequal(scenes: list[Scene]) -> list[str]:
    """Images of unequal sizes are shown as large as each other, which is worth to be known."""
    unequal = 0
    for scene in scenes:
        unequal += len({image_size(path) for path in scene.images.values()}) > 1
    return [f"{unequal} scenes have images of unequal sizes"] if unequal else []
