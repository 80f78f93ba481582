"""At which size a photograph is encoded.

The shorter side becomes the resolution; the longer one keeps the aspect, rounded down to whole
patches of 32 pixels (two by two latents of F=16, or one of F=32), the remainder cut off on both
sides.
"""

from diffusion4k.support.multiples import PATCH, check_multiple

__all__ = ["PATCH", "check_multiple", "fitted_size", "kept_size"]


def fitted_size(width: int, height: int, resolution: int) -> tuple[int, int]:
    """Width and height in pixels at which a photograph is encoded; multiples of 32."""
    longer = max(width, height) * resolution // min(width, height) // PATCH * PATCH
    return (longer, resolution) if width >= height else (resolution, longer)


def kept_size(width: int, height: int, resolution: int) -> tuple[int, int]:
    """Size of `fitted_size`, but not enlarged: a smaller photograph keeps its own."""
    return fitted_size(width, height, min(resolution, min(width, height) // PATCH * PATCH))
