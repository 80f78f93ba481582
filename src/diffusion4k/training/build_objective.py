"""From the section `objective` of a recipe to the objective that it names."""

from typing import Any

from diffusion4k.config.types import Section
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
from diffusion4k.training import objective_recipe as recipes

__all__ = ["objective_of"]

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
    """
    objective: Objective = _built(section)
    return objective


def _built(value: Any) -> Any:
    """What a section stands for, its parts first; other values as they are."""
    if isinstance(value, Section):
        arguments = {key: _built(each) for key, each in value if key != "name"}
        return _CLASSES[type(value)](**arguments)
    if isinstance(value, tuple):
        return tuple(_built(each) for each in value)
    return value
