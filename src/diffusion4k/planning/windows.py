"""How many windows a stage of an image has, and how large they are."""

from collections.abc import Sequence

from diffusion4k.accounting.stages import WindowCount
from diffusion4k.families.base import Family
from diffusion4k.sampling.stages import Stage
from diffusion4k.sampling.windows import overlapping, shifted, windows_per_call

__all__ = ["count_windows"]


def count_windows(stage: Stage, family: Family) -> WindowCount | None:
    """The windows of a step, those of a shifted grid as the mean over all its positions.

    `family` is at the stage's factor. None: the transformer sees the image whole.
    """
    if not stage.window:
        return None
    side = stage.window * family.size_step // family.factor
    width, height = (min(side * family.factor, length) for length in (stage.width, stage.height))
    along, down = (
        _mean([len(shifted(size, side, offset)) for offset in range(side)])
        if stage.grid == "shifted"
        else float(len(overlapping(size, side)))
        for size in (stage.width // family.factor, stage.height // family.factor)
    )
    return WindowCount(
        width,
        height,
        along * down,
        windows_per_call(width * height // family.size_step**2),
    )


def _mean(numbers: Sequence[int]) -> float:
    return sum(numbers) / len(numbers)
