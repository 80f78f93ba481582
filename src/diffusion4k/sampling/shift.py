"""How sampling shifts the noise levels of an image: by its model's schedule, or as requested.

sigma' = s sigma / (1 + (s - 1) sigma) (Esser et al., arXiv 2403.03206, section 5.3.2). The more,
the more steps are spent on the layout and the fewer on detail.
"""

import math
from typing import TYPE_CHECKING

from diffusion4k.errors import UsageError

if TYPE_CHECKING:
    from diffusers import SchedulerMixin

__all__ = ["MOST", "check_shift", "with_shift"]

MOST = 1000.0
"""From here on nearly all steps see nothing but noise, and the last one makes the whole image."""


def check_shift(
    shift: float | None, natural: float, *, model: str, width: int, height: int
) -> None:
    """Refuse a shift that is none, and a size at which the model's own leaves no step for detail.

    Args:
        shift: as requested; None: the model's own.
        natural: the model's own at that size.

    Raises:
        UsageError: says what to ask for.
    """
    if shift is not None:
        if not (math.isfinite(shift) and 0 < shift <= MOST):
            raise UsageError(f"shift {shift:g}: allowed is a number above 0 up to {MOST:g}")
        return
    if natural > MOST:
        raise UsageError(
            f"{width}x{height}: at so many tokens the schedule of {model} shifts noise levels by "
            f"{natural:,.0f}, so that all steps but the last see only noise: choose a smaller "
            "size or a higher factor, make it in stages, or give a shift (3 to 30, say)"
        )


def with_shift(scheduler: "SchedulerMixin", shift: float) -> "SchedulerMixin":
    """A scheduler like `scheduler` that shifts by `shift` at any size.

    Raises:
        UsageError: it is of a kind that does not shift.
    """
    config = scheduler.config
    if config.get("use_dynamic_shifting"):
        # Whatever shift a pipeline computes from the image's tokens no longer counts.
        fixed = type(scheduler).from_config(config, use_dynamic_shifting=False, shift=shift)
        # It shifts them when it is made, and would shift them again with each schedule.
        fixed.sigma_min, fixed.sigma_max = scheduler.sigma_min, scheduler.sigma_max
        return fixed
    for key in ("flow_shift", "shift"):
        if key in config:
            return type(scheduler).from_config(config, **{key: shift})
    raise UsageError(
        f"shift {shift:g}: a {type(scheduler).__name__} does not shift noise levels: leave it out"
    )
