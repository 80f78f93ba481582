"""What a command can refuse at once, before it imports libraries that take seconds."""

from collections.abc import Iterable
from pathlib import Path

from diffusion4k.errors import UsageError
from diffusion4k.families import resolve
from diffusion4k.models.folder import bundled_models
from diffusion4k.sampling.cache_option import CacheOption
from diffusion4k.sampling.options import SamplingOptions
from diffusion4k.sampling.sizes import check_steps
from diffusion4k.support.multiples import PATCH, nearest_multiples

__all__ = ["check_generation", "check_image", "require_folder"]


def check_image(model: str, sampling: SamplingOptions, factor: int | None) -> None:
    """Refuse sizes that no model can make, steps that no schedule has, and unknown caches.

    The model itself may ask for more: `sampling.settle` knows.

    Raises:
        UsageError: names the number and what is allowed.
    """
    step = PATCH // 2 if factor == 8 else PATCH
    # A model folder may have a factor of 8 of its own.
    least = step if model in bundled_models() else PATCH // 2
    for name, side in (("width", sampling.width), ("height", sampling.height)):
        if side is None:
            continue
        if side < least:
            raise UsageError(f"{name} {side}: too small, the smallest is {step}")
        if side % least:
            near = nearest_multiples(side, step)
            raise UsageError(f"{name} {side}: not a multiple of {step}; the nearest: {near}")
    if sampling.steps is not None:
        check_steps(sampling.steps)
    CacheOption.of(sampling.cache)


def check_generation(
    model: str,
    sampling: SamplingOptions,
    *,
    factor: int | None,
    loras: Iterable[Path],
    init: Path | None,
) -> None:
    """Refuse what `check_image` refuses, and files and models that do not exist.

    Raises:
        UsageError: names what is wrong.
        Diffusion4kError: a hub id that is not available.
    """
    check_image(model, sampling, factor)
    for lora in loras:
        if not lora.exists():
            raise UsageError(
                f"{lora}: no such file: give the folder that holds pytorch_lora_weights.safetensors"
                ", or a .safetensors file"
            )
    if init is not None and not init.exists():
        raise UsageError(f"init {init}: no such file: give an image file")
    resolve(model)


def require_folder(folder: Path, what: str = "images") -> None:
    """Raise `UsageError` unless a folder of `what` exists."""
    if not folder.is_dir():
        found = "is not a folder" if folder.exists() else "no such folder"
        raise UsageError(f"{folder}: {found}: give a folder of {what}")
