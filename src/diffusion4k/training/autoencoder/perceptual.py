"""The perceptual distance that a recipe names."""

from torch import nn

from diffusion4k.metrics.architectures.lpips import Lpips
from diffusion4k.metrics.architectures.perceptual import EffNetDistance
from diffusion4k.training.autoencoder.recipe import AutoencoderRecipe, LpipsRecipe

__all__ = ["build_perceptual"]


def build_perceptual(recipe: AutoencoderRecipe) -> nn.Module | None:
    """Distances `(B,)` of two batches of images; None at weight 0.

    Raises:
        UsageError: no file with the network's weights or the heads of LPIPS.
        Diffusion4kError: weights that cannot be read, or of another network.
    """
    if not recipe.loss.perceptual:
        return None
    wanted = recipe.perceptual
    if isinstance(wanted, LpipsRecipe):
        return Lpips(wanted.network, wanted.weights, wanted.heads)
    return EffNetDistance().requires_grad_(False).eval()
