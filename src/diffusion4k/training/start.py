"""Where a run begins: at its first step, or at the newest sound checkpoint."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from diffusion4k.training.checkpoint.checkpoint import set_aside_damaged
from diffusion4k.training.checkpoint.resume import resume_point
from diffusion4k.training.engine.engine import Engine
from diffusion4k.training.inputs import Inputs, require_same_inputs
from diffusion4k.training.recipe.recipe import RunRecipe

__all__ = ["StartingPoint", "starting_point"]


@dataclass(frozen=True)
class StartingPoint:
    """Where a run begins.

    Attributes:
        checkpoint: from which it is resumed, if there is one.
        done: the steps that are done there.
        inputs: what the run is made of; only in the first process, and with a checkpoint.
    """

    checkpoint: Path | None
    done: int
    inputs: Inputs | None

    @property
    def resume_after(self) -> int:
        """The last step that is done; -1 of a run that begins."""
        return self.done if self.checkpoint else -1


def starting_point(
    recipe: RunRecipe, engine: Engine, inputs: Callable[[], Inputs], *, changed: bool
) -> StartingPoint:
    """The newest sound checkpoint of the recipe's output; damaged ones are set aside.

    Args:
        inputs: what the run is made of, asked for before anything of it is made anew.
        changed: other inputs than those of the checkpoint are no reason to refuse.

    Raises:
        UsageError: see `resume_point` and `require_same_inputs`.
    """
    if engine.is_main:
        for folder in set_aside_damaged(recipe.output / "checkpoints"):
            print(f"{folder}: incomplete files, continuing without it", file=sys.stderr)
    engine.wait()
    checkpoint, done = resume_point(recipe, engine.data_world)
    found = None
    if checkpoint and engine.is_main:
        found = inputs()
        require_same_inputs(checkpoint, found, changed=changed)
    return StartingPoint(checkpoint, done, found)
