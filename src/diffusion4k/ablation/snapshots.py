"""A look at a run: images of all prompts and seeds, their measures, and the velocity's error.

    FOLDER/images/               one image a prompt and seed
    FOLDER/errors.safetensors    velocity errors, see `questions`
    FOLDER/look.json             written last: what it was made under

A look that was made under other questions than the study's is made again.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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

__all__ = ["Look", "findings_of", "has_look", "photographs_of", "read_look", "take_look"]

_ERRORS = "errors"


@dataclass(frozen=True)
class Look:
    """What a look found."""

    shots: list[ImageSetEntry]
    errors: NDArray[np.float64]
    """`(pictures, levels, 4)`."""


def has_look(ground: StudySetup, folder: Path, arm: str | None) -> bool:
    """Whether a whole look is there that was made under the study's questions."""
    try:
        record = json_of((folder / "look.json").read_bytes())
    except (OSError, ValueError):
        return False
    there = all((folder / "images" / name).is_file() for name in record.get("images", [""]))
    asked: bool = record.get("asked") == _asked(ground, arm)
    return asked and there and (folder / "errors.safetensors").is_file()


def take_look(
    ground: StudySetup, recipe: Recipe, folder: Path, *, arm: str | None, name: str
) -> None:
    """Make it; images that are there already are kept.

    Arguments:
        arm: whose run has exported the model; None: look at the model as it starts.
        name: for progress.

    Raises:
        Diffusion4kError: the model cannot be run, or its images cannot be measured.
    """
    from safetensors.numpy import save_file

    trained = arm is not None
    study, (model, options) = ground.study, _model(recipe, trained=trained)
    staging = study.staging(arm)
    sampler = Sampler(model, device=ground.device, **options)
    requests = [
        Request(
            prompt,
            seed,
            "",
            study.width,
            study.height,
            study.sampling_steps,
            study.guidance,
            stages=staging.stages,
            stage_options=staging.stage_options,
        )
        for prompt in ground.prompts.prompts
        for seed in study.sample_seeds
    ]
    outputs = generate(requests, sampler, out=folder / "images", image_format="png")
    del sampler
    shots = [made_image(output.path, output.settings) for output in outputs]
    write_captions(folder / "images", shots)
    network = network_of(recipe, ground.device, trained=trained)
    errors = velocity_errors(
        study, recipe, ground.asked, network, ground.device, what=f"velocity errors of {name}"
    )
    with atomic_path(folder / "errors.safetensors") as temporary:
        save_file({_ERRORS: errors}, temporary)
    findings_of(ground, shots, name)  # kept in the store
    images = [shot.path.name for shot in shots]
    seeds = [shot.seed for shot in shots]
    prompts = [shot.prompt for shot in shots]
    record = {"asked": _asked(ground, arm), "images": images, "prompts": prompts, "seeds": seeds}
    write_text(folder / "look.json", json.dumps(record, indent=1) + "\n")


def read_look(folder: Path) -> Look:
    """What `take_look` left there."""
    from safetensors.numpy import load_file

    record = json_of((folder / "look.json").read_bytes())
    of_images = zip(record["images"], record["prompts"], record["seeds"], strict=True)
    shots = [ImageSetEntry(folder / "images" / n, n, prompt, seed) for n, prompt, seed in of_images]
    return Look(shots, load_file(folder / "errors.safetensors")[_ERRORS])


def findings_of(ground: StudySetup, shots: list[ImageSetEntry], name: str) -> list[Measured]:
    """What all measures find in the images, from the store where they have been measured.

    Raises:
        Diffusion4kError: an image that cannot be measured.
    """
    pictures = [MeasuredImage(shot.path, shot.prompt or None) for shot in shots]
    return _measured(ground, pictures, name)


def photographs_of(ground: StudySetup, paths: list[Path]) -> list[Measured]:
    """What measures that ask for no prompt find in photographs."""
    return _measured(ground, [MeasuredImage(path) for path in paths], "photographs")


def _measured(ground: StudySetup, pictures: list[MeasuredImage], name: str) -> list[Measured]:
    if not pictures:
        return []
    folder = pictures[0].path.parent
    with Counter(f"measuring {name}", len(pictures)) as counter:
        good, bad = measure_folder(
            folder, pictures, ground.measures, ground.store, lambda _: counter.advance()
        )
    if bad:
        raise Diffusion4kError(f"{bad[0].path}: cannot be measured: {bad[0].problem}")
    return good


def _model(recipe: Recipe, *, trained: bool) -> tuple[str, dict[str, Any]]:
    """What `Sampler` takes."""
    own = recipe.model_options["high_resolution"]
    options = {"high_resolution": own} if own else {}
    if not trained:
        return recipe.model, options
    if recipe.lora is None:
        return str(recipe.output / "model"), {}  # which states its own options
    return recipe.model, options | {"lora": recipe.output / "lora"}


def _asked(ground: StudySetup, arm: str | None) -> dict[str, Any]:
    study = ground.study
    keys = ("width", "height", "sampling_steps", "guidance", "sample_seeds", "velocity")
    # Left out where they are not stated: looks that were taken before there were any stay good.
    stages = study.staging(arm).model_dump(mode="json", exclude_none=True)
    return (
        study.model_dump(mode="json", include=set(keys))
        | stages
        | {
            "model": ground.model,
            "prompts": ground.prompts.fingerprint,
            "pictures": ground.asked.checksum(),
        }
    )
