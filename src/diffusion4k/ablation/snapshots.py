"""A snapshot of a run: images of all prompts and seeds, their measures, and the velocity's error.

    FOLDER/images/               one image a prompt and seed
    FOLDER/errors.safetensors    velocity errors, see `questions`
    FOLDER/look.json             written last: what it was made under

A snapshot made under other settings than the study's is made again.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from diffusion4k.ablation.setup import StudySetup
from diffusion4k.ablation.velocity_error import network_of, velocity_errors
from diffusion4k.benchmark.entries import made_image, write_captions
from diffusion4k.errors import Diffusion4kError
from diffusion4k.imagesets.models import ImageSetEntry
from diffusion4k.metrics.measuring import Measured, measure_folder
from diffusion4k.metrics.picture import MeasuredImage
from diffusion4k.sampling.batch import generate
from diffusion4k.sampling.request import Request
from diffusion4k.sampling.sampler import Sampler
from diffusion4k.support.files import atomic_path, write_text
from diffusion4k.support.progress import Counter
from diffusion4k.support.text_files import json_of
from diffusion4k.training.recipe.recipe import Recipe

__all__ = [
    "Snapshot",
    "findings_of",
    "has_snapshot",
    "photographs_of",
    "read_snapshot",
    "take_snapshot",
]

_ERRORS = "errors"


@dataclass(frozen=True)
class Snapshot:
    """What a snapshot found."""

    images: list[ImageSetEntry]
    errors: NDArray[np.float64]
    """`(pictures, levels, 4)`."""


def has_snapshot(setup: StudySetup, folder: Path, arm: str | None) -> bool:
    """Whether there is a whole snapshot made under the study's settings."""
    try:
        record = json_of((folder / "look.json").read_bytes())
    except (OSError, ValueError):
        return False
    there = all((folder / "images" / name).is_file() for name in record.get("images", [""]))
    is_same: bool = record.get("asked") == _asked(setup, arm)
    return is_same and there and (folder / "errors.safetensors").is_file()


def take_snapshot(
    setup: StudySetup, recipe: Recipe, folder: Path, *, arm: str | None, name: str
) -> None:
    """Make it; images that are there already are kept.

    Args:
        arm: whose run has exported the model; None: the model as it starts.
        name: for progress.

    Raises:
        Diffusion4kError: the model cannot be run, or its images cannot be measured.
    """
    from safetensors.numpy import save_file

    trained = arm is not None
    study, (model, options) = setup.study, _model(recipe, trained=trained)
    sampler = Sampler(model, device=setup.device, **options)
    sampling = study.sampling(arm)
    requests = [
        Request.of(sampling, prompt, seed)
        for prompt in setup.prompts.prompts
        for seed in study.sample_seeds
    ]
    outputs = generate(requests, sampler, out=folder / "images", image_format="png")
    del sampler
    images = [made_image(output.path, output.settings) for output in outputs]
    write_captions(folder / "images", images)
    network = network_of(recipe, setup.device, trained=trained)
    errors = velocity_errors(
        study,
        recipe,
        setup.velocity_cache,
        network,
        setup.device,
        what=f"velocity errors of {name}",
    )
    with atomic_path(folder / "errors.safetensors") as temporary:
        save_file({_ERRORS: errors}, temporary)
    findings_of(setup, images, name)  # kept in the store
    names = [image.path.name for image in images]
    seeds = [image.seed for image in images]
    prompts = [image.prompt for image in images]
    record = {
        "asked": _asked(setup, arm),
        "images": names,
        "prompts": prompts,
        "seeds": seeds,
    }
    write_text(folder / "look.json", json.dumps(record, indent=1) + "\n")


def read_snapshot(folder: Path) -> Snapshot:
    """What `take_snapshot` left there."""
    from safetensors.numpy import load_file

    record = json_of((folder / "look.json").read_bytes())
    of_images = zip(record["images"], record["prompts"], record["seeds"], strict=True)
    images = [
        ImageSetEntry(folder / "images" / n, n, prompt, seed) for n, prompt, seed in of_images
    ]
    return Snapshot(images, load_file(folder / "errors.safetensors")[_ERRORS])


def findings_of(setup: StudySetup, images: list[ImageSetEntry], name: str) -> list[Measured]:
    """What all measures find in the images, from the store where they have been measured.

    Raises:
        Diffusion4kError: an image that cannot be measured.
    """
    pictures = [MeasuredImage(image.path, image.prompt or None) for image in images]
    return _measured(setup, pictures, name)


def photographs_of(setup: StudySetup, paths: list[Path]) -> list[Measured]:
    """What measures that ask for no prompt find in photographs."""
    return _measured(setup, [MeasuredImage(path) for path in paths], "photographs")


def _measured(setup: StudySetup, pictures: list[MeasuredImage], name: str) -> list[Measured]:
    if not pictures:
        return []
    folder = pictures[0].path.parent
    with Counter(f"measuring {name}", len(pictures)) as counter:
        good, bad = measure_folder(
            folder, pictures, setup.measures, setup.store, lambda _: counter.advance()
        )
    if bad:
        raise Diffusion4kError(f"{bad[0].path}: cannot be measured: {bad[0].problem}")
    return good


class _SamplerOptions(TypedDict, total=False):
    high_resolution: dict[str, object]
    lora: Path


def _model(recipe: Recipe, *, trained: bool) -> tuple[str, _SamplerOptions]:
    """What `Sampler` takes."""
    own = recipe.model_options["high_resolution"]
    options: _SamplerOptions = {"high_resolution": own} if own else {}
    if not trained:
        return recipe.model, options
    if recipe.lora is None:
        return str(recipe.output / "model"), {}  # which states its own options
    return recipe.model, {**options, "lora": recipe.output / "lora"}


def _asked(setup: StudySetup, arm: str | None) -> dict[str, object]:
    study = setup.study
    keys = ("width", "height", "sampling_steps", "guidance", "sample_seeds", "velocity")
    # Left out where they are not stated: snapshots that were taken before there were any stay good.
    stages = study.staging(arm).model_dump(mode="json", exclude_none=True)
    return (
        study.model_dump(mode="json", include=set(keys))
        | stages
        | {
            "model": setup.model,
            "prompts": setup.prompts.fingerprint,
            "pictures": setup.velocity_cache.checksum(),
        }
    )
