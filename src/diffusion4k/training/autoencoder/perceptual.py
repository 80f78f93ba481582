"""The perceptual distance that a recipe names."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.metrics.perceptual import EffNetDistance
from diffusion4k.training.autoencoder.recipe import AutoencoderRecipe, LpipsRecipe

__all__ = ["build_perceptual"]


def build_perceptual(recipe: AutoencoderRecipe) -> nn.Module | None:
    """Distances `(B,)` (LPIPS: `(B, 1, 1, 1)`) of two batches of images; None at weight 0.

    Raises:
        UsageError: the package `lpips` is not installed, or no file with its network's weights.
        Diffusion4kError: weights that cannot be read, or of another network.
    """
    if not recipe.loss.perceptual:
        return None
    wanted = recipe.perceptual
    network = _lpips(wanted) if isinstance(wanted, LpipsRecipe) else EffNetDistance()
    return network.requires_grad_(False).eval()


def _lpips(recipe: LpipsRecipe) -> nn.Module:
    try:
        import lpips
    except ImportError:
        raise UsageError(
            "perceptual.name: found lpips, whose package is not installed: `pip install lpips`, or "
            "perceptual={name: effnet-pd}, which needs none"
        ) from None
    if not recipe.weights.is_file():
        raise UsageError(
            f"perceptual.weights: {recipe.weights}: no such file: give torchvision's weights of "
            f"{recipe.network} (.pth or .safetensors)"
        )
    # A random network for a start, as `lpips` would download one; the linear heads are its own.
    made = lpips.LPIPS(net=recipe.network, pnet_rand=True, verbose=False)
    _fill(made.net, _tensors(recipe.weights), recipe.weights)
    return made


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise Diffusion4kError(f"{path}: cannot be read as weights: {reason}") from None


def _fill(network: Any, weights: dict[str, Tensor], path: Path) -> None:
    """`lpips` cuts torchvision's `features.N` into slices and keeps the numbers."""
    own = network.state_dict()
    renamed = {name: f"features.{name.partition('.')[2]}" for name in own}
    try:
        network.load_state_dict({name: weights[theirs] for name, theirs in renamed.items()})
    except (KeyError, RuntimeError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise Diffusion4kError(f"{path}: weights of another network ({reason})") from None
