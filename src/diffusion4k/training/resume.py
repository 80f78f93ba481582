"""Where a run goes on, and whether it may: only what does not touch the weights may change."""

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from diffusion4k.errors import UsageError
from diffusion4k.training.checkpoint import latest_checkpoint, read_state
from diffusion4k.training.problems import describe_problems
from diffusion4k.training.recipe import RunRecipe

__all__ = ["changed_keys", "resume_point"]

_FREE = ("output", "steps", "checkpoint", "validation")


def resume_point(recipe: RunRecipe, processes: int) -> tuple[Path | None, int]:
    """Newest checkpoint of the recipe's output and the steps done there; `(None, 0)` if none.

    Raises:
        UsageError: the checkpoint comes from another recipe or another number of processes.
    """
    checkpoint = latest_checkpoint(recipe.output / "checkpoints")
    if checkpoint is None:
        return None, 0
    state, kind = read_state(checkpoint), type(recipe)
    try:
        before = kind.model_validate(state["recipe"])
        steps, processes_before = int(state["step"]), int(state["processes"])
    except (KeyError, ValidationError) as error:
        told = describe_problems(error, kind) if isinstance(error, ValidationError) else error
        raise UsageError(
            f"{checkpoint / 'state.json'}: not of this version ({told}): choose another output"
        ) from None
    changes = changed_keys(before, recipe)
    if processes_before != processes:
        changes.append(f"processes ({processes_before} -> {processes})")
    if changes:
        raise UsageError(
            f"{checkpoint}: the recipe has changed since: {', '.join(changes)}; undo that, "
            f"or choose another output (only {', '.join(_FREE)} may change)"
        )
    return checkpoint, steps


def changed_keys(before: RunRecipe, after: RunRecipe) -> list[str]:
    """`key (old -> new)` of each value that decides about the weights and differs."""
    old, new = _flat(before.model_dump(mode="json")), _flat(after.model_dump(mode="json"))
    return [
        f"{key} ({old.get(key)} -> {new.get(key)})"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key) and key.split(".")[0] not in _FREE
    ]


def _flat(section: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in section.items():
        nested = isinstance(value, dict)
        flat |= _flat(value, f"{prefix}{key}.") if nested else {prefix + key: value}
    return flat
