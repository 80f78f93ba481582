"""Sides in pixels are whole multiples of a token's; which are nearest to one that is not."""

from diffusion4k.errors import UsageError

__all__ = ["PATCH", "check_multiple", "nearest_multiples"]

PATCH = 32
"""Pixels a side of one token: two latents of F=16, or one of F=32."""


def nearest_multiples(pixels: int, step: int = PATCH, most: int | None = None) -> str:
    """The multiples of `step` below and above, for a message; `most`: the greatest allowed."""
    below = max(pixels // step * step, step)
    above = (pixels // step + 1) * step
    near = {below, above} if most is None else {min(below, most), min(above, most)}
    return " or ".join(map(str, sorted(near)))


def check_multiple(what: str, pixels: int, step: int = PATCH, most: int | None = None) -> None:
    """Refuse what is no positive multiple of `step`; `most` is the greatest there is.

    Raises:
        UsageError: names the number and the nearest that are allowed.
    """
    if pixels < step:
        raise UsageError(f"{what} {pixels}: too small, the smallest is {step}")
    if pixels % step:
        near = nearest_multiples(pixels, step, most)
        raise UsageError(f"{what} {pixels}: not a multiple of {step}; the nearest: {near}")
