"""Options for sizes beyond a model's training, all off by default.

A model folder states them in its `diffusion4k.json`, for sampling and fine-tuning alike:

    {"high_resolution": {"positions": "yarn", "time_dependent": true, "attention_chunk": 4096}}

and `generate`, `plan` and recipes may give them in its place, key by key. Which positions a family
knows stands in its file; what they do in `models.positions`.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationError

from diffusion4k.config.problems import list_problems
from diffusion4k.config.types import Count, Section
from diffusion4k.errors import Diffusion4kError

__all__ = ["ROTARY", "TABLE", "TRAINED_TOKENS", "HighResolution", "given_options"]

TABLE = ("extend", "interpolate")
"""Methods for tables of positions, which reach up to `side`."""
ROTARY = ("ntk", "yarn")
"""Methods for rotary positions, which are scaled beyond `trained_tokens`."""
TRAINED_TOKENS = 64
"""Tokens a side of the training images, where nothing else is stated."""


class HighResolution(Section):
    """The options of a model or of a recipe; null: as the model's folder states, or off.

    What they may be together with a family's methods `checked` says.
    """

    model_config = ConfigDict(use_attribute_docstrings=True)

    positions: Literal["extend", "interpolate", "ntk", "yarn"] | None = None
    """Beyond the training size: ntk or yarn (flux), extend or interpolate (sd3); by default as the
    model has them."""
    side: Count | None = None
    """Longest side in pixels that a table of positions has to reach."""
    trained_tokens: Count | None = None
    """With ntk or yarn: tokens a side of the training images, 64 by default."""
    time_dependent: Annotated[bool, Field(strict=True)] | None = None
    """With ntk or yarn: scale by the noise level."""
    attention_chunk: Count | None = None
    """Largest number of queries of one attention call; by default all."""

    @classmethod
    def checked(
        cls,
        stated: Any,
        methods: tuple[str, ...],
        *,
        where: str,
        family: str,
        error: type[Diffusion4kError] = Diffusion4kError,
    ) -> "HighResolution":
        """The options as they were stated.

        Args:
            methods: what `positions` may be in models of the `family`.
            where: what to name in errors.

        Raises:
            error: an unknown option, a value of the wrong kind, or options that have no effect.
        """
        if not isinstance(stated, Mapping):
            raise error(f"{where}: found {stated!r}, allowed an object")
        try:
            wanted = cls.model_validate(dict(stated))
        except ValidationError as problem:
            found = list_problems(problem, cls, dict(stated))
            raise error("; ".join(f"{where}.{each}" for each in found)) from None
        if wanted.positions is not None and wanted.positions not in methods:
            allowed = ", ".join(methods) or "none: they need none or have no such choice"
            raise error(
                f"{where}.positions: found {wanted.positions!r}, allowed in {family} models: "
                f"{allowed}"
            )
        for key in ("time_dependent", "trained_tokens"):
            if getattr(wanted, key) and wanted.positions not in ROTARY:
                raise error(
                    f"{where}.{key}: has no effect without positions {' or '.join(ROTARY)}: give "
                    "one of them, if the family has them, or leave it out"
                )
        if wanted.positions in TABLE and wanted.side is None:
            raise error(
                f"{where}.positions {wanted.positions}: needs a `side`, the longest one in pixels; "
                "`generate` and `plan` take it from --width and --height"
            )
        return wanted


def given_options(sides: tuple[int | None, int | None], **options: Any) -> dict[str, Any]:
    """The options that are given; a table of positions reaches the longer of the sides."""
    given = {key: value for key, value in options.items() if value is not None}
    known = [side for side in sides if side is not None]
    if given.get("positions") in TABLE and known:
        given["side"] = max(known)
    return given
