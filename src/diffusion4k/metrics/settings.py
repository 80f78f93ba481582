"""Options of the metrics that need no weights but those a package brings."""

from dataclasses import dataclass

from diffusion4k.errors import UsageError

__all__ = ["BLOCK", "PERIOD", "MeasureSettings", "check_period"]

PERIOD = 32
"""Pixels a side of a token at F=16 with patches of 2x2 latents."""
BLOCK = 8
"""Pixels a side of a JPEG's blocks."""


@dataclass(frozen=True)
class MeasureSettings:
    """What the findings depend on beside the picture.

    Raises:
        UsageError: a patch size or a number of patches below 1, or a grid period that
            `check_period` refuses.
    """

    reencode: bool = False
    patch_size: int = 224
    patches_per_image: int = 64
    grid_period: int = PERIOD

    def __post_init__(self) -> None:
        for name in ("patch_size", "patches_per_image"):
            if getattr(self, name) < 1:
                option = "--" + name.replace("_", "-")
                raise UsageError(f"{option} {getattr(self, name)}: must be at least 1")
        check_period(self.grid_period)


def check_period(period: int) -> None:
    """Refuse a grid period that has no other positions of the same kind: see `token_grid`.

    Raises:
        UsageError: below 3, 4 or 8: JPEG blocks and a decoder's own steps have these periods.
    """
    if period < 3 or BLOCK % period == 0:
        raise UsageError(
            f"grid period {period}: allowed are whole numbers of pixels from 3, except 4 and 8, "
            "which are the periods of JPEG blocks; a token of F=16 has 32"
        )
