"""Images of several models, brought together by their prompts.

The prompt of an image is what the `metadata.jsonl` of its folder says, or else the record that
`diffusion4k generate` writes into its images. Of folders without either, the images in the order of
their names belong to the lines of the prompts file.

Of a prompt with several images (seeds) the first of each model belong together, then the second.

Without prompts, images of one file name belong together: where no file of prompts is given and the
images of some folder carry none. A prompt that only another folder knows is theirs too.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from diffusion4k.data.folder import METADATA
from diffusion4k.data.images import image_size
from diffusion4k.errors import UsageError
from diffusion4k.imagesets.models import Model, read_models
from diffusion4k.sampling.request import prompts_file, read_prompts
from diffusion4k.support.wording import counted

__all__ = ["ScenePictures", "Scenes", "find_scenes", "folders_of"]


@dataclass(frozen=True)
class ScenePictures:
    """One prompt and the images that the models made of it."""

    id: str
    """Number of the prompt from 1, `3b` is its second image; without prompts the file name that the
    images share, without its ending."""
    prompt: str
    """Empty where it is not known."""
    images: dict[str, Path]
    """Image of each model."""


@dataclass(frozen=True)
class Scenes:
    """All scenes of a study, and notes about them."""

    scenes: list[ScenePictures]
    notes: list[str]


def folders_of(models: Mapping[str, str]) -> list[Model]:
    """The images of each model's folder.

    Raises:
        UsageError: no such folder, or one without images.
        Diffusion4kError: bad metadata.
    """
    return read_models([f"{name}={folder}" for name, folder in models.items()], 1, len(models))


def find_scenes(
    models: Mapping[str, str], prompts: Path | None, *, skip_missing: bool = False
) -> Scenes:
    """The scenes of the models' folders.

    Raises:
        UsageError: no such folder or one without images, no such file of prompts, a prompt given
            twice, or a model without an image of some prompt or name (unless `skip_missing`).
        Diffusion4kError: bad metadata.
    """
    wanted = _distinct(prompts) if prompts else None
    folders = folders_of(models)
    if wanted is None and not all(any(e.prompt for e in model.entries) for model in folders):
        return _by_name(folders, skip_missing)
    by_prompt = {model.name: _by_prompt(model, wanted, prompts) for model in folders}
    # Without a file of prompts, in the order in which they are met.
    order = wanted or list(dict.fromkeys(p for found in by_prompt.values() for p in found))
    scenes, missing = [], []
    for number, prompt in enumerate(order, start=1):
        most = max(len(found.get(prompt, ())) for found in by_prompt.values())
        for index in range(max(most, 1)):
            have = {m: f[prompt][index] for m, f in by_prompt.items() if len(f[prompt]) > index}
            if len(have) == len(models):
                scenes.append(ScenePictures(f"{number}{_letters(index)}", prompt, have))
            else:
                lacking = next(m for m in models if m not in have)
                missing.append(f"{models[lacking]}: no image of prompt {number}: {prompt[:60]!r}")
    return _complete(scenes, missing, skip_missing)


def _by_name(folders: list[Model], skip_missing: bool) -> Scenes:
    """Scenes of images that are called alike."""
    named = {model.name: {entry.name: entry for entry in model.entries} for model in folders}
    scenes, missing = [], []
    for name in dict.fromkeys(name for found in named.values() for name in found):
        have = {model: found[name] for model, found in named.items() if name in found}
        prompts = list(dict.fromkeys(entry.prompt.strip() for entry in have.values()))
        known = [prompt for prompt in prompts if prompt]
        if len(known) > 1:
            raise UsageError(
                f"{name}: its images carry the prompts {known[0][:40]!r} and {known[1][:40]!r}: "
                "rename one, or give a file of `prompts`"
            )
        if len(have) == len(folders):
            images = {model: entry.path for model, entry in have.items()}
            scenes.append(ScenePictures(name, known[0] if known else "", images))
        else:
            lacking = next(model for model in folders if model.name not in have)
            missing.append(f"{lacking.folder}: no image called {name}, as another folder has")
    return _complete(scenes, missing, skip_missing)


def _complete(scenes: list[ScenePictures], missing: list[str], skip_missing: bool) -> Scenes:
    if missing and not (skip_missing and scenes):
        others = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise UsageError(f"{missing[0]}{others}: make it, or say `missing: skip`")
    notes = []
    if missing:
        them = "it" if len(missing) == 1 else "them"
        notes = [f"{counted(len(missing), 'scene')} left out, as a model has no image of {them}"]
    return Scenes(scenes, notes + _unequal(scenes))


def _distinct(path: Path) -> list[str]:
    path = prompts_file(path)
    if not path.is_file():
        raise UsageError(
            f"task.prompts: found {path}, which is not a file: give a .txt or .jsonl file of the "
            "prompts, or leave the key out where the images carry their own"
        )
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
    model: Model, wanted: list[str] | None, prompts: Path | None
) -> dict[str, list[Path]]:
    """Images of each prompt; a prompt without any gives an empty list."""
    found: dict[str, list[Path]] = defaultdict(list)
    known = [entry for entry in model.entries if entry.prompt]
    # Of one prompt, images with equal seeds belong together.
    for entry in sorted(known, key=lambda entry: entry.seed or 0):
        found[entry.prompt.strip()].append(entry.path)
    if known:
        return found
    assert wanted is not None  # Without them images belong together by their names.
    if len(model.entries) != len(wanted):
        raise UsageError(
            f"{model.folder}: {counted(len(model.entries), 'image')} without prompts, "
            f"{len(wanted)} prompts in {prompts}: give one image for each, or add {METADATA}"
        )
    for entry, prompt in zip(model.entries, wanted, strict=True):
        found[prompt].append(entry.path)
    return found


def _letters(index: int) -> str:
    """Nothing, then b, c, ..., z, then 27, 28, ..."""
    return "" if index == 0 else chr(ord("a") + index) if index < 26 else f"-{index + 1}"


def _unequal(scenes: list[ScenePictures]) -> list[str]:
    """Images of unequal sizes are shown as large as each other, which is worth to be known."""
    unequal = []
    for scene in scenes:
        sizes = {model: "{}x{}".format(*image_size(path)) for model, path in scene.images.items()}
        if len(set(sizes.values())) > 1:
            found = ", ".join(f"{model} {size}" for model, size in sizes.items())
            what = "prompt" if scene.prompt else "image"
            unequal.append(f"{what} {scene.id}: images of unequal sizes: {found}")
    more = f" (and {len(unequal) - 1} more)" if len(unequal) > 1 else ""
    return [unequal[0] + more] if unequal else []
