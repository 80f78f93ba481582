"""Bytes that a training run writes, known from the sizes of the layers alone."""

from copy import deepcopy

from diffusion4k.accounting.blueprint import Blueprint
from diffusion4k.lora import add_adapter
from diffusion4k.planning.generation import count
from diffusion4k.training.check import copies_in_checkpoint, most_checkpoints
from diffusion4k.training.recipe.build import adapter_options
from diffusion4k.training.recipe.recipe import Recipe

__all__ = ["training_disk", "usual_picture"]

_ASPECT = 3 / 2  # of photographs that have not been seen
_STEP = 32
_HALF = 2  # bytes of a stored number


def training_disk(
    model: Blueprint, recipe: Recipe, photographs: int | None, *, checkpoints_there: int = 0
) -> dict[str, int]:
    """Bytes of `checkpoints`, `result` and, where the number of photographs is known, `cache`.

    Of the checkpoints those that are there already are not counted, but for one that is written
    before an old one goes.
    """
    trained = _trained(model, recipe)
    each = int(4 * trained * copies_in_checkpoint(recipe))
    to_come = max(most_checkpoints(recipe) - checkpoints_there, 1)
    others = sum(count(model, name) for name in model.components if name != "transformer")
    disk = {
        "checkpoints": to_come * each,
        "result": 4 * trained if recipe.lora else 4 * trained + _HALF * others,
    }
    if photographs:
        width, height = usual_picture(recipe)
        cell = model.family.factor
        latents = model.latent_channels * (width // cell) * (height // cell)
        text = sum(t.numel() for t in model.family.empty_conditioning(model.folder, 1).values())
        latents *= photographs * (2 if recipe.flip else 1)
        # Mean and deviation, or the photograph's and the enlarged draft's.
        latents *= 2 if recipe.posterior == "sample" or recipe.stage else 1
        # The empty caption is kept, too.
        disk["cache"] = _HALF * (latents + (photographs + 1) * text)
    return disk


def usual_picture(recipe: Recipe) -> tuple[int, int]:
    """Width and height of a cached picture of the usual shape."""
    return int(recipe.resolution * _ASPECT) // _STEP * _STEP, recipe.resolution


def _trained(model: Blueprint, recipe: Recipe) -> int:
    """Parameters that are trained."""
    if recipe.lora is None:
        return count(model, "transformer")
    adapted = deepcopy(model.transformer)
    add_adapter(adapted, **adapter_options(recipe.lora, model.family), seed=0)
    return sum(p.numel() for p in adapted.parameters() if p.requires_grad)
