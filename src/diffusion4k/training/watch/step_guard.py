"""Steps that would harm: a loss or gradient that is not finite, or a loss far above the usual.

Such a step is skipped: the gradients are dropped, and neither weights, moments nor the average
change. After `patience` of them in a row the run stops.
"""

import math
from collections import deque
from statistics import median
from typing import TypedDict

from diffusion4k.training.recipe.recipe import GuardRecipe

__all__ = ["Guard", "GuardState"]

_LEAST = 10  # losses before "the usual" means something


class GuardState(TypedDict):
    """What judgements to come depend on."""

    losses: list[float]
    in_a_row: int
    skipped: int


class Guard:
    """Judges steps by what all processes see alike, so that all do the same."""

    def __init__(self, wanted: GuardRecipe) -> None:
        self._wanted = wanted
        self._losses: deque[float] = deque(maxlen=wanted.window)
        self.in_a_row = 0
        self.skipped = 0
        self.reason = ""
        """Why the last step was skipped; empty if it was not."""

    @property
    def has_enough(self) -> bool:
        """Whether the run must stop."""
        return self.in_a_row >= self._wanted.patience

    def judge(self, loss: float, norm: float) -> str:
        """Why a step of this loss and gradient norm is to be skipped; empty if it is good."""
        reason = ""
        if not (math.isfinite(loss) and math.isfinite(norm)):
            reason = f"loss {loss}, gradient norm {norm}"
        elif self._wanted.spike and len(self._losses) >= _LEAST:
            usual = median(self._losses)
            if loss > self._wanted.spike * usual:
                reason = f"loss {loss:.4g}, {loss / usual:.3g} times the median of the last"
                reason += f" {len(self._losses)} steps"
        self.reason = reason
        if reason:
            self.in_a_row += 1
            self.skipped += 1
        else:
            self.in_a_row = 0
            self._losses.append(loss)
        return reason

    def state(self) -> GuardState:
        """For a checkpoint's `state.json`."""
        return {
            "losses": list(self._losses),
            "in_a_row": self.in_a_row,
            "skipped": self.skipped,
        }

    def load(self, state: GuardState) -> None:
        """Continue from a saved state."""
        self._losses.extend(state["losses"])
        self.in_a_row, self.skipped = state["in_a_row"], state["skipped"]
