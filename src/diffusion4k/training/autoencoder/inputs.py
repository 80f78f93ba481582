"""What the training of an autoencoder is made of; see `training.inputs`."""

import hashlib
from pathlib import Path

from diffusion4k.data.folder import photo_folder
from diffusion4k.families.component import loaded_files
from diffusion4k.models.folder import resolve_autoencoder
from diffusion4k.support.files import sha256_of
from diffusion4k.training.autoencoder.recipe import AutoencoderRecipe, LpipsRecipe
from diffusion4k.training.inputs import DIGITS, Inputs, file_ends, photographs_of

__all__ = ["inputs_of_autoencoder"]


def inputs_of_autoencoder(recipe: AutoencoderRecipe) -> Inputs:
    """What a training of an autoencoder is made of.

    Raises:
        Diffusion4kError: no teacher, no photographs, or no such file of weights.
    """
    folder = resolve_autoencoder(recipe.model)
    files = "".join(f"{path.name} {sha256_of(path)}" for path in loaded_files(folder))
    weights = {"model": hashlib.sha256(files.encode()).hexdigest()[:DIGITS]}
    if isinstance(recipe.perceptual, LpipsRecipe) and recipe.loss.perceptual:
        for key in ("weights", "heads"):
            path = Path(getattr(recipe.perceptual, key) or "")
            if path.is_file():  # A hub id is another file only under another name.
                weights[f"perceptual.{key}"] = sha256_of(path)[:DIGITS]
    return Inputs(weights, "data", list(photographs_of(photo_folder(recipe.data), file_ends)))
