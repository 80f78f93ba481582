"""Where a run resumes, and whether it may: only what does not touch the weights may change."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from diffusion4k.config.problems import describe_problems
from diffusion4k.errors import UsageError
from diffusion4k.training.checkpoint.checkpoint import latest_checkpoint, read_state
from diffusion4k.training.recipe.recipe import RunRecipe

__all__ = ["changed_keys", "resume_point"]

_FREE = (
    "output",
    "steps",
    "checkpoint",
    "validation",
    "engine",
    "offload",
    "context_parallel",
    "log",
    "report",
    "guard",
)
_BATCH = ("batch_size", "gradient_accumulation", "global_batch_size")


def resume_point(recipe: RunRecipe, processes: int) -> tuple[Path | None, int]:
    """Newest checkpoint of the recipe's output and the steps done there; `(None, 0)` if none.

    Raises:
        UsageError: the checkpoint comes from another recipe, or one with another global batch:
            `batch_size` x `gradient_accumulation` x processes may only be divided otherwise.
    """
    checkpoint = latest_checkpoint(recipe.output / "checkpoints")
    if checkpoint is None:
        return None, 0
    state, kind = read_state(checkpoint), type(recipe)
    try:
        before = kind.model_validate(state["recipe"])
        steps, processes_before = int(state["step"]), int(state["processes"])
    except (KeyError, ValidationError) as error:
        problem: object = error
        if isinstance(error, ValidationError):
            problem = describe_problems(error, kind, state["recipe"])
        raise UsageError(
            f"{checkpoint / 'state.json'}: not from this version ({problem}): choose another output"
        ) from None
    changes = changed_keys(before, recipe)
    batches = [
        each.batch_size * each.gradient_accumulation * count
        for each, count in ((before, processes_before), (recipe, processes))
    ]
    if batches[0] == batches[1]:
        changes = [change for change in changes if not change.startswith(_BATCH)]
    elif processes_before != processes:
        changes.append(
            f"processes ({processes_before} -> {processes}, with global batches of "
            f"{batches[0]} -> {batches[1]})"
        )
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


def _flat(section: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in section.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
