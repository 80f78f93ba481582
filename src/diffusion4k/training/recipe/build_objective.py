"""From the section `objective` of a recipe to the objective that it names."""

import inspect
from collections.abc import Iterator
from functools import partial
from typing import Any

from diffusion4k.config.types import Section
from diffusion4k.errors import UsageError
from diffusion4k.objectives import (
    Composed,
    FlowMatching,
    LatentWaveletDiffusion,
    Objective,
    SnrHuberWavelet,
    WaveletFlow,
    masks,
    norms,
    transforms,
    weightings,
)
from diffusion4k.support.own_code import load_own, one_line
from diffusion4k.training.recipe import objective_recipe as recipes

__all__ = ["build_own", "objective_of", "own_codes"]

_CLASSES: dict[type[Section], type] = {
    recipes.FlowMatchingRecipe: FlowMatching,
    recipes.WaveletFlowRecipe: WaveletFlow,
    recipes.SnrHuberWaveletRecipe: SnrHuberWavelet,
    recipes.LwdRecipe: LatentWaveletDiffusion,
    recipes.ComposedRecipe: Composed,
    recipes.ConstantRecipe: weightings.Constant,
    recipes.SigmaSquaredRecipe: weightings.SigmaSquared,
    recipes.InverseSigmaSquaredRecipe: weightings.InverseSigmaSquared,
    recipes.CosMapRecipe: weightings.CosMap,
    recipes.MinSnrRecipe: weightings.MinSnr,
    recipes.PathMinSnrRecipe: weightings.PathMinSnr,
    recipes.IdentityRecipe: transforms.Identity,
    recipes.WaveletRecipe: transforms.Wavelet,
    recipes.BandsRecipe: transforms.Bands,
    recipes.SquaredRecipe: norms.Squared,
    recipes.AbsoluteRecipe: norms.Absolute,
    recipes.PseudoHuberRecipe: norms.PseudoHuber,
    recipes.SnrHuberRecipe: norms.SnrHuber,
    recipes.EnergyMaskRecipe: masks.EnergyMask,
}


def objective_of(section: Section) -> Objective:
    """The objective of a section `objective`.

    Raises:
        ValueError: no such wavelet, or a value that the objective refuses.
        UsageError: see `build_own`.
    """
    objective: Objective = _built(section)
    return objective


def build_own(code: str, arguments: dict[str, Any], key: str) -> Any:
    """What a class of one's own makes of the arguments, or a function with them filled in.

    Raises:
        UsageError: there is no such thing, or it does not take the arguments.
    """
    found = load_own(code, key)
    if not inspect.isclass(found):
        return partial(found, **arguments) if arguments else found
    try:
        return found(**arguments)
    except Exception as error:  # somebody's code may raise anything
        raise UsageError(f"{key}: {code}: refuses {arguments}: {one_line(error)}") from None


def own_codes(section: Section) -> Iterator[str]:
    """`module:name` of everything of one's own in a section."""
    if isinstance(section, (recipes.OwnRecipe, recipes.OwnTimestepsRecipe)):
        yield section.code
        return
    for _, value in section:
        if isinstance(value, Section):
            yield from own_codes(value)


def _built(value: Any) -> Any:
    """What a section stands for, its parts first; other values as they are."""
    if isinstance(value, Section):
        if isinstance(value, recipes.OwnRecipe):
            return build_own(value.code, value.arguments, "objective")
        arguments = {key: _built(each) for key, each in value if key != "name"}
        return _CLASSES[type(value)](**arguments)
    if isinstance(value, tuple):
        return tuple(_built(each) for each in value)
    return value
