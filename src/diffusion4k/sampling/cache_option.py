"""Which cache between steps is asked for; see `sampling.step_cache` for what each does."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from diffusion4k.errors import UsageError
from diffusion4k.sampling.stages import Stage

if TYPE_CHECKING:
    from diffusion4k.families.base import Family

__all__ = ["CacheOption", "recorded_cache"]

_USUAL = {"first-block": 0.05, "taylorseer": 3.0, "mag": 0.06}
_ALLOWED = "first-block[:threshold], taylorseer[:interval], mag[:threshold] and off"
_LONGEST = 100


@dataclass(frozen=True)
class CacheOption:
    """A cache, and its threshold or interval."""

    kind: str
    """first-block, taylorseer or mag."""
    number: float

    @classmethod
    def of(cls, text: str | None) -> "CacheOption | None":
        """The cache that `text` names, with its usual number where it gives none; None: off.

        Raises:
            UsageError: no such cache, or a number that it cannot have.
        """
        kind, colon, number = (text or "off").partition(":")
        if kind == "off" and not colon:
            return None
        if kind not in _USUAL:
            raise UsageError(f"cache {text}: allowed are {_ALLOWED}")
        if not colon:
            return cls(kind, _USUAL[kind])
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if kind == "taylorseer" and not (value.is_integer() and 1 <= value <= _LONGEST):
            raise UsageError(
                f"cache {text}: allowed is an interval of 1 (exact) to {_LONGEST} steps"
            )
        if kind != "taylorseer" and not 0 <= value <= 1:
            raise UsageError(f"cache {text}: allowed is a threshold from 0 (exact) to 1")
        return cls(kind, value)

    @classmethod
    def of_settings(cls, recorded: str | None) -> "CacheOption | None":
        """The cache that an image's settings record; see `recorded_cache`."""
        return cls.of(recorded and ":".join(recorded.split(":")[:2]))

    def __str__(self) -> str:
        return f"{self.kind}:{self.number:g}"

    @property
    def is_inside_blocks(self) -> bool:
        """Whether it keeps the contributions of blocks, and not whole predictions."""
        return self.kind != "taylorseer"


def recorded_cache(
    asked: str | None,
    family: "Family",
    folder: Path,
    *,
    stages: Sequence[Stage],
    has_interval: bool,
) -> str | None:
    """The cache as an image's settings record it, with its number; None: off.

    With `mag` follows a hash of the model's ratios, which decide the image, too.

    Args:
        stages: in which the image is made.
        has_interval: whether guidance is limited to an interval of noise levels.

    Raises:
        UsageError: no such cache, or one that does not go with the model or with the other options.
    """
    option = CacheOption.of(asked)
    if option is None:
        return None
    if option.is_inside_blocks and not family.has_block_cache:
        raise UsageError(
            f"cache {asked}: diffusers cannot skip the blocks of {family.name} models: take "
            "taylorseer, or leave it out"
        )
    if option.kind != "mag":
        return str(option)
    ratios = family.mag_ratios(folder)
    if ratios is None:
        raise UsageError(
            f"cache {asked}: {folder} states no mag_ratios in diffusion4k.json: measure them once "
            "(docs/speed.md), or take first-block or taylorseer"
        )
    moving = [stage.name for stage in stages if stage.window and stage.grid == "shifted"]
    if moving:
        raise UsageError(
            f"cache {asked}: counts steps of the same tokens, but the windows of stage {moving[0]} "
            "move: add --grid overlap, or take first-block or taylorseer"
        )
    if has_interval:
        raise UsageError(
            f"cache {asked}: counts the steps of both predictions, but guidance is limited to an "
            "interval: leave it out, or take first-block or taylorseer"
        )
    return f"{option}:{hashlib.sha256(repr(ratios).encode()).hexdigest()[:8]}"
