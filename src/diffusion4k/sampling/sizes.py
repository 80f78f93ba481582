"""Allowed sizes of images and numbers of steps."""

from diffusion4k.errors import UsageError
from diffusion4k.support.multiples import check_multiple

__all__ = ["check_size", "check_steps"]

_MAX_STEPS = 1000


def check_steps(steps: int, least: int = 1) -> None:
    """Refuse numbers of steps that no schedule has, or fewer than the model's schedule needs.

    Raises:
        UsageError: names the number and the range.
    """
    if not least <= steps <= _MAX_STEPS:
        raise UsageError(f"steps {steps}: allowed is {least} to {_MAX_STEPS}")


def check_size(width: int, height: int, *, size_step: int, max_side: int) -> None:
    """Refuse sides that are no multiple of `size_step` or not in `[size_step, max_side]` pixels.

    Raises:
        UsageError: names the side and the nearest sizes that are allowed.
    """
    largest = max_side - max_side % size_step
    for name, side in (("width", width), ("height", height)):
        if side > largest:
            raise UsageError(
                f"{name} {side}: too large for this model, whose position embeddings reach "
                f"{largest} pixels: the largest size is {largest}x{largest}"
            )
        check_multiple(name, side, size_step, largest)
