"""Arguments that several commands share."""

import os
from typing import Any

import typer
from typer.models import ArgumentInfo

__all__ = ["as_utf8", "key_values", "stages_asked"]


def as_utf8(text: str) -> str:
    """An argument as terminals send it, even where the locale says ASCII or Latin-1."""
    try:
        return os.fsencode(text).decode("utf-8")
    except UnicodeError:
        return text


def key_values(what: str, example: str) -> ArgumentInfo:
    """`[KEY=VALUE]...` after a file of settings, which is called `what`."""
    given: ArgumentInfo = typer.Argument(
        help=f"Keys of the {what} with other values, for example {example}.",
        metavar="KEY=VALUE",
        show_default=False,
    )
    return given


def stages_asked(
    stages: str | None, draft: int | None, direct: bool, **options: Any
) -> dict[str, Any]:
    """`stages`, `draft` and `stage_options` of a request, as the options of a command have them.

    `options` are those of all stages after the draft, None where they are not given.

    Raises:
        UsageError: `--direct` beside one of the others, or stages that are not numbers.
    """
    from diffusion4k.errors import UsageError
    from diffusion4k.families.stages import StageOptions

    if direct and (stages is not None or draft is not None):
        raise UsageError("--direct contradicts --stages and --draft: leave out one of them")
    sides: tuple[int, ...] | None = () if direct else None
    if stages is not None:
        try:
            sides = tuple(int(side) for side in stages.split(","))
        except ValueError:
            raise UsageError(
                f"stages {stages}: give longer sides in pixels, separated by commas, e.g. 1024,2048"
            ) from None
    given = StageOptions(**options)
    return {
        "stages": sides,
        "draft": draft,
        "stage_options": None if given == StageOptions() else given,
    }
