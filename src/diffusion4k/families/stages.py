"""How a model makes an image in stages: a draft, then larger stages, each with options of its own.

The defaults follow from the size that the family's models were trained at; a model folder states
its own in `diffusion4k.json`, the draft first, and is then sampled in stages by default:

    {"stages": [{"side": 512, "steps": 20}, {"side": 1024, "steps": 10, "strength": 0.6}]}

A stage of a size between or above those takes the options of the nearest one.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from diffusion4k.errors import Diffusion4kError

__all__ = ["GRIDS", "LOW_BANDS", "SOLVERS", "USUAL", "ModelStages", "StageOptions"]

GRIDS = ("shifted", "overlap")
"""How windows cover an image: side by side on a grid that moves from step to step, or by half over
one another with smooth weights."""
LOW_BANDS = ("off", "constant", "falling", "replaced")
"""How a stage keeps to the low sub-bands of the one before. While it is denoised, in its latents,
with a weight that stays or falls in proportion to the noise level; or, `replaced`, in the pixels of
its finished picture."""
_MOST_LEVELS = 4
SOLVERS = ("own", "dpm++")
"""Solvers of the sampling equation: the model's own, or DPM-Solver++(2M) (Lu et al., arXiv
2211.01095), which errs less in few steps."""


@dataclass(frozen=True)
class StageOptions:
    """What decides how a stage is made; None leaves it to whoever decides next."""

    steps: int | None = None
    """Steps of the whole schedule, of which a stage makes the last `strength`."""
    guidance: float | None = None
    strength: float | None = None
    """Share of the steps that is made, above 0 to 1, as in stock image-to-image pipelines."""
    factor: int | None = None
    """Pixels a side of one latent."""
    window: int | None = None
    """Tokens a side of the windows that the transformer sees; 0: the whole image at once."""
    grid: str | None = None
    """One of `GRIDS`."""
    low_bands: str | None = None
    """One of `LOW_BANDS`: how the low sub-bands keep to those of the stage before."""
    low_bands_weight: float | None = None
    """Weight of that, above 0 to 1 (at the first step)."""
    wavelet: str | None = None
    """Wavelet of these sub-bands, a discrete one of PyWavelets."""
    further_levels: int | None = None
    """Levels of that transform beyond as many as the picture was doubled: each leaves the stage an
    octave more to make again, as the picture before may be softer than its size could show."""
    solver: str | None = None
    """One of `SOLVERS`."""
    model: str | None = None
    """Whose transformer makes the stage: a bundled model, a folder or a hub id; None: the model
    itself. A model that was fine-tuned on windows leaves its draft to the model it came from."""

    def over(self, other: "StageOptions") -> "StageOptions":
        """These options, and those of `other` where these leave it open."""
        own = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(other, **{name: value for name, value in own.items() if value is not None})

    def check(self, where: str, error: type[Diffusion4kError]) -> None:
        """Refuse values out of range.

        Raises:
            error: names `where`, the value and what is allowed.
        """
        for key in ("steps", "factor"):
            value = getattr(self, key)
            if value is not None and (not _is_whole(value) or value < 1):
                raise error(f"{where}{key} {value}: allowed is a whole number from 1")
        further = self.further_levels
        if further is not None and not (_is_whole(further) and 0 <= further <= _MOST_LEVELS):
            raise error(f"{where}further levels {further}: allowed are 0 to {_MOST_LEVELS}")
        if self.window is not None and (not _is_whole(self.window) or self.window < 0):
            raise error(
                f"{where}window {self.window}: allowed is a number of tokens from 1 (0: the whole "
                "image at once)"
            )
        for key, allowed in (("grid", GRIDS), ("low_bands", LOW_BANDS), ("solver", SOLVERS)):
            value = getattr(self, key)
            if value is not None and value not in allowed:
                name = key.replace("_", " ")
                raise error(f"{where}{name} {value}: allowed are {', '.join(allowed)}")
        for key in ("strength", "low_bands_weight"):
            value = getattr(self, key)
            if value is not None and not (_is_number(value) and 0 < value <= 1):
                name = key.replace("_", " ")
                raise error(f"{where}{name} {value}: allowed is a number above 0 to 1")
        value = self.guidance
        if value is not None and not (_is_number(value) and math.isfinite(value) and value >= 0):
            raise error(f"{where}guidance {value}: allowed is a number from 0 (0 to 1: off)")
        if self.model is not None and not (isinstance(self.model, str) and self.model):
            raise error(f"{where}model {self.model!r}: allowed is a name, a folder or a hub id")
        if self.wavelet is not None:
            import pywt

            if self.wavelet not in pywt.wavelist(kind="discrete"):
                raise error(
                    f"{where}wavelet {self.wavelet}: allowed are haar and the others of "
                    "pywt.wavelist(kind='discrete')"
                )


_OF_DRAFTS = {"side", "steps", "guidance", "factor", "model"}
USUAL = StageOptions(
    strength=0.4,
    grid="shifted",
    low_bands="falling",
    low_bands_weight=1.0,
    wavelet="db2",
    further_levels=0,
    solver="own",
)
"""Options of a stage after the draft unless family, model folder or request say otherwise."""


@dataclass(frozen=True)
class ModelStages:
    """The stages of a model by default."""

    sides: tuple[int, ...]
    """Longer sides in pixels, growing; the first is the draft's. Sizes double above the last."""
    options: tuple[StageOptions, ...]
    """Options of each side; all but the draft's state strength, window and kind of guidance."""
    later: StageOptions
    """Options of later stages of a model that states only its draft."""
    is_default: bool = False
    """Whether an image is made in stages unless the request says otherwise."""

    def of(self, side: int) -> StageOptions:
        """Options of a stage after the draft, by its longer side: those of the nearest one."""
        if len(self.sides) == 1:
            return self.later
        pairs = zip(self.sides[1:], self.options[1:], strict=True)
        return min(pairs, key=lambda pair: abs(math.log(pair[0] / side)))[1]

    @classmethod
    def stated(
        cls, entries: Any, *, draft: StageOptions, later: StageOptions, where: str
    ) -> "ModelStages":
        """Stages of a model folder, over the family's `draft` and `later` options.

        Raises:
            Diffusion4kError: no list, an unknown option, a value out of range, sides that do not
                grow; names `where`, the value and what is allowed.
        """
        if not isinstance(entries, list) or not entries:
            raise Diffusion4kError(f"{where}: found {entries!r}, allowed a list of objects")
        sides: list[int] = []
        options: list[StageOptions] = []
        known = {"side", *(field.name for field in fields(StageOptions))}
        for number, entry in enumerate(entries):
            place = f"{where}[{number}]"
            if not isinstance(entry, Mapping):
                raise Diffusion4kError(f"{place}: found {entry!r}, allowed an object")
            if unknown := sorted(entry.keys() - known):
                raise Diffusion4kError(
                    f"{place}: unknown {unknown[0]}; known: {', '.join(sorted(known))}"
                )
            side: Any = entry.get("side")
            least = sides[-1] + 1 if sides else 1
            if not _is_whole(side) or side < least:
                raise Diffusion4kError(
                    f"{place}: side is {side!r}: allowed is a whole number from {least}, the "
                    "longer side in pixels, as stages grow"
                )
            stated = StageOptions(**{key: entry[key] for key in entry if key != "side"})
            stated.check(f"{place}: ", Diffusion4kError)
            if not number and (vain := sorted(entry.keys() - _OF_DRAFTS)):
                raise Diffusion4kError(
                    f"{place}: {vain[0]} has no effect: this is the draft, made from noise alone"
                )
            sides.append(side)
            options.append(stated.over(later if number else draft))
        return cls(tuple(sides), tuple(options), later, is_default=True)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
