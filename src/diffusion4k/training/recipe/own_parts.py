"""Objectives, their parts and distributions of one's own: tried before a run, noted with it."""

from pathlib import Path

import torch

from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.families import Family
from diffusion4k.models.folder import component_folder, read_json
from diffusion4k.objectives import Objective
from diffusion4k.support.own_code import load_own, one_line, source_hash
from diffusion4k.timesteps import TimestepDistribution
from diffusion4k.training.recipe.recipe import Recipe

__all__ = ["check_own_distribution", "check_own_objective", "codes_of"]

_PICTURES = 2
_DRAWN = 64
_CHANNELS = 16


def codes_of(recipe: Recipe) -> dict[str, str]:
    """Hash of the module's file by `objective: module:name` of all that is one's own.

    Raises:
        UsageError: a class that is not there.
    """
    return {
        f"{key}: {code}": source_hash(load_own(code, key))
        for key in ("objective", "timesteps")
        for code in getattr(recipe, key).own_codes()
    }


def check_own_objective(recipe: Recipe, objective: Objective, family: Family, model: Path) -> None:
    """Try an objective with parts of one's own on latents of the crop's size.

    Raises:
        UsageError: it fails, or does not give one finite number a picture from which gradients
            come.
    """
    codes = ", ".join(recipe.objective.own_codes())
    if not codes:
        return
    width, height = (side // family.factor for side in recipe.crop_size)
    generator = torch.Generator().manual_seed(0)
    shape = (_PICTURES, _channels(family, model), height, width)
    velocity, latents, noise = (torch.randn(shape, generator=generator) for _ in range(3))
    sigma = torch.linspace(0.2, 0.8, _PICTURES)
    velocity.requires_grad_()
    try:
        with torch.random.fork_rng():
            loss = objective(velocity, latents=latents, noise=noise, sigma=sigma)
            _require_shape(loss, (_PICTURES,), "one loss a picture")
            loss.sum().backward()
    except UsageError as error:
        raise UsageError(f"objective: {codes}: {error}") from None
    except Exception as error:  # somebody's code may raise anything
        raise UsageError(
            f"objective: {codes}: fails on latents {shape}: {one_line(error)}: see "
            "docs/objectives.md for how it is called"
        ) from None
    if velocity.grad is None or not velocity.grad.isfinite().all():
        raise UsageError(
            f"objective: {codes}: its gradients are not finite on random latents of noise levels "
            f"{sigma.tolist()}"
        )


def check_own_distribution(recipe: Recipe, timesteps: TimestepDistribution) -> None:
    """Draw some noise levels of a distribution of one's own.

    Raises:
        UsageError: it fails, or draws values that are not noise levels.
    """
    codes = ", ".join(recipe.timesteps.own_codes())
    if not codes:
        return
    try:
        sigma = timesteps.sample(_DRAWN, torch.Generator().manual_seed(0))
        _require_shape(sigma, (_DRAWN,), "one noise level a picture")
    except UsageError as error:
        raise UsageError(f"timesteps: {codes}: {error}") from None
    except Exception as error:  # somebody's code may raise anything
        raise UsageError(
            f"timesteps: {codes}: sample({_DRAWN}, generator) fails: {one_line(error)}"
        ) from None
    if not ((sigma > 0) & (sigma < 1)).all():
        raise UsageError(
            f"timesteps: {codes}: drew noise levels from {sigma.min():g} to {sigma.max():g}, "
            "allowed between 0 and 1"
        )


def _require_shape(found: object, shape: tuple[int, ...], what: str) -> None:
    if not isinstance(found, torch.Tensor):
        raise UsageError(f"gives a {type(found).__name__}, allowed a tensor with {what}")
    if tuple(found.shape) != shape or not found.is_floating_point():
        raise UsageError(
            f"gives {found.dtype} of shape {tuple(found.shape)}, allowed floating-point numbers of "
            f"shape {shape}, {what}"
        )
    if not found.isfinite().all():
        raise UsageError("gives numbers that are not finite")


def _channels(family: Family, model: Path) -> int:
    """Number of channels of the model's latents."""
    try:
        config = read_json(component_folder(model, "vae") / "config.json")
    except (Diffusion4kError, OSError):
        return _CHANNELS
    return int(config.get(family.channels_key) or _CHANNELS)
