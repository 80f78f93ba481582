"""The photographs that images are compared with.

As training sees them: reduced to the recipe's resolution, cut to whole patches. One that is smaller
would be enlarged, and soft: it is left out. And the same through the autoencoder, encoded and
decoded again: what that loses, no objective brings back.
"""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from diffusion4k.ablation.recipe import AblationRecipe
from diffusion4k.benchmark.prompts import PromptSet
from diffusion4k.data.folder import METADATA, photo_folder, read_folder
from diffusion4k.data.images import open_rgb
from diffusion4k.data.picture_files import list_images
from diffusion4k.data.pixels import normalised, to_tensor
from diffusion4k.data.sizes import fitted_size
from diffusion4k.errors import UsageError
from diffusion4k.families import Family
from diffusion4k.support.files import atomic_path, sha256_of
from diffusion4k.support.progress import track
from diffusion4k.support.wording import counted
from diffusion4k.training.recipe.recipe import Recipe

__all__ = ["as_trained", "through_autoencoder"]


def as_trained(
    study: AblationRecipe, recipe: Recipe, prompts: PromptSet, *, skip_bad: bool
) -> tuple[list[Path], list[str]]:
    """The reference's photographs as PNG, made where they are not there; and notes of them.

    Raises:
        UsageError: all are smaller than the resolution.
        Diffusion4kError: one cannot be read.
    """
    folder = photo_folder(study.reference) if study.reference else prompts.reference
    if folder is None:
        return [], ["no photographs, so no distances to them: name their folder as reference"]
    if (folder / METADATA).is_file():
        paths = [photo.path for photo in read_folder(folder, skip_bad=skip_bad)]
    else:
        paths = list_images(folder)
    place = study.output / "reference" / f"{recipe.resolution}"
    made, small = [], 0
    for path in track(paths, len(paths), "photographs"):
        target = place / f"{path.stem}-{sha256_of(path)[:12]}.png"
        if not target.is_file():
            image = open_rgb(path)
            if min(image.size) < recipe.resolution:
                small += 1
                continue
            _save(to_tensor(image, fitted_size(*image.size, recipe.resolution)), target)
        made.append(target)
    if not made:
        raise UsageError(
            f"{folder}: none of its {counted(len(paths), 'photograph')} has "
            f"{recipe.resolution} pixels on the "
            "shorter side: name larger ones as reference"
        )
    note = (
        f"{small} of {counted(len(paths), 'photograph')} of {folder.name} smaller than the "
        "resolution"
    )
    return made, [f"{note}: left out"] if small else []


@torch.no_grad()
def through_autoencoder(
    photographs: list[Path], family: Family, model: Path, device: torch.device
) -> list[Path]:
    """Each as the model's autoencoder gives it back, made where it is not there."""
    targets = [path.parent / "decoded" / path.name for path in photographs]
    todo = [each for each in zip(photographs, targets, strict=True) if not each[1].is_file()]
    if todo:
        autoencoder = family.load_autoencoder(model, dtype=torch.float32).to(device).eval()
        for path, target in track(todo, len(todo), "through the autoencoder"):
            image = normalised(np.array(open_rgb(path))).to(device)
            latents = family.encode_images(autoencoder, image)
            strips = family.decode_strips(autoencoder, latents, None)
            _save(torch.cat([strip.cpu() for strip in strips], dim=2), target)
    return targets


def _save(image: torch.Tensor, path: Path) -> None:
    """`(1, 3, H, W)` in [-1, 1]."""
    pixels = image[0].mul(127.5).add(127.5).round().clamp(0, 255).to(torch.uint8)
    with atomic_path(path) as temporary:
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(temporary)
