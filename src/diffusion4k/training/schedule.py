"""Learning rate of each optimizer step, as a function of the step alone (nothing to save).

With base rate `r`, `S` steps and `W` warm-up steps, step `s = 0, ..., S - 1` has

    s < W      r * (s + 1) / W
    constant   r
    cosine     r / 2 * (1 + cos(pi * (s - W) / (S - W)))
"""

import math

from diffusion4k.training.recipe.recipe import ScheduleRecipe

__all__ = ["learning_rate"]


def learning_rate(schedule: ScheduleRecipe, *, base: float, step: int, steps: int) -> float:
    """Learning rate of the optimizer step `step` in `[0, steps)`."""
    warmup = schedule.warmup_steps
    if step < warmup:
        return base * (step + 1) / warmup
    if schedule.name == "constant":
        return base
    return base / 2 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))
