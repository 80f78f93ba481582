"""At which size a photograph is encoded.

The shorter side becomes the resolution; the longer one keeps the aspect, rounded down to whole
patches of 32 pixels (two by two latents of F=16, or one of F=32), the remainder cut off on both
sides.
"""

from diffusion4k.errors import UsageError

__all__ = ["PATCH", "check_multiple", "fitted_size", "kept_size"]

PATCH = 32
"""Pixels a side of one token: two latents of F=16, or one of F=32."""


def check_multiple(what: str, pixels: int) -> None:
    """Raise `UsageError` unless `pixels` is a positive multiple of 32."""
    if pixels < PATCH:
        raise UsageError(f"{what} {pixels}: too small, the smallest is {PATCH}")
    if over := pixels % PATCH:
        below = pixels - over
        raise UsageError(
            f"{what} {pixels}: allowed are multiples of {PATCH}, nearest: {below} or "
            f"{below + PATCH}"
        )


def fitted_size(width: int, height: int, resolution: int) -> tuple[int, int]:
    """Width and height in pixels at which a photograph is encoded; multiples of 32."""
    longer = max(width, height) * resolution // min(width, height) // PATCH * PATCH
    return (longer, resolution) if width >= height else (resolution, longer)


def kept_size(width: int, height: int, resolution: int) -> tuple[int, int]:
    """Size of `fitted_size`, but not enlarged: a smaller photograph keeps its own."""
    return fitted_size(width, height, min(resolution, min(width, height) // PATCH * PATCH))
