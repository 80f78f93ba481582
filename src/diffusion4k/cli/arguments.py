"""Arguments that several commands share."""

import os
from typing import TYPE_CHECKING, TypedDict

import typer
from typer.models import ArgumentInfo

if TYPE_CHECKING:
    from diffusion4k.families.stages import StageOptions

__all__ = ["StagesAsked", "as_utf8", "key_values", "stages_asked"]


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


class StagesAsked(TypedDict):
    """The fields of a `sampling.Request` about stages."""

    stages: tuple[int, ...] | None
    draft: int | None
    stage_options: "StageOptions | None"


def stages_asked(
    stages: str | None,
    draft: int | None,
    direct: bool,
    *,
    strength: float | None,
    steps: int | None,
    window: int | None,
    low_bands: str | None,
) -> StagesAsked:
    """How an image is made in stages, as the options of a command have it.

    `strength` and what follows are those of all stages after the draft, None where not given.

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
    given = StageOptions(strength=strength, steps=steps, window=window, low_bands=low_bands)
    return {
        "stages": sides,
        "draft": draft,
        "stage_options": None if given == StageOptions() else given,
    }
