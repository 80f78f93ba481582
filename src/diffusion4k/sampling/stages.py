"""The stages of an image: which sizes, each with what it is made by.

Where all tokens see each other a draft decides what the picture shows; each stage enlarges it,
noises it, and denoises it again in windows, so that it only adds detail. Compare DiffuseHigh (Kim
et al., arXiv 2406.18459) and MultiDiffusion (Bar-Tal et al., arXiv 2302.08113).
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from diffusion4k.errors import UsageError
from diffusion4k.families.stages import ModelStages, StageOptions
from diffusion4k.sampling.sizes import check_size, check_steps

if TYPE_CHECKING:
    from diffusion4k.families.base import Defaults, Family

__all__ = ["Stage", "doubled", "resolve_stages", "steps_made"]

_LEAST_GROWTH = math.sqrt(2)
_MOST_STAGES = 8


@dataclass(frozen=True)
class Stage:
    """One stage of an image; the first is the draft, which starts from noise alone."""

    width: int
    height: int
    """Height in pixels."""
    steps: int
    """Steps of the whole schedule; `steps_made` are the last `strength` of them."""
    guidance: float
    factor: int
    """Pixels a side of one latent."""
    strength: float | None = None
    """Share of the steps that is made; None in the draft: all."""
    window: int | None = None
    """Tokens a side of the windows; None: the whole image at once."""
    grid: str | None = None
    """How windows cover the image: `shifted` or `overlap`; None without windows."""
    low_bands: str = "off"
    """How the low sub-bands keep to those of the stage before: one of `LOW_BANDS`."""
    low_bands_weight: float | None = None
    """Weight of that, above 0 to 1; None where it is off."""
    wavelet: str | None = None
    """Wavelet of these sub-bands; None where it is off."""
    further_levels: int | None = None
    """Levels of the wavelet transform beyond the number of doublings; None where it is off."""
    solver: str | None = None
    """`dpm++`; None: the model's own scheduler."""
    model: str | None = None
    """Model whose transformer makes the stage; None: the model itself."""
    model_fingerprint: str | None = None
    """Fingerprint of that transformer's folder; None before it is read (see `Sampler.settle`)."""

    @property
    def steps_made(self) -> int:
        """Steps that are made of `steps`."""
        return steps_made(self.steps, self.strength)

    @property
    def name(self) -> str:
        """The size, as files are named by it: `1024x768`."""
        return f"{self.width}x{self.height}"


def steps_made(steps: int, strength: float | None) -> int:
    """Steps that are made of a schedule of `steps`, as stock image-to-image pipelines count them.

    At least one is made of every strength above 0, and all where it is None.
    """
    return steps if strength is None else steps - int(max(steps - steps * strength, 0))


def doubled(draft: int, side: int) -> tuple[int, ...]:
    """Longer sides from the draft's on, each twice the one before, up to the image's own `side`.

    A stage is left out where the image is less than the square root of 2 as large.
    """
    sides = [draft]
    while side / (2 * sides[-1]) >= _LEAST_GROWTH:
        sides.append(2 * sides[-1])
    return (*sides, side)


def resolve_stages(
    family: "Family",
    model: Path,
    defaults: "Defaults",
    *,
    width: int,
    height: int,
    steps: int | None = None,
    guidance: float | None = None,
    stages: tuple[int, ...] | None = None,
    draft: int | None = None,
    options: StageOptions | None = None,
) -> tuple[Stage, ...] | None:
    """The stages of an image of `width` x `height` pixels, the draft first; None: made directly.

    Args:
        family, model, defaults: the family at the requested factor, and the model's folder.
        steps: asked for the draft; None: as the model's draft has it.
        guidance: asked for all stages; None: as the model has it for each.
        stages: longer sides in pixels, the draft's first; the image's own is added where it is
            missing. `()`: direct. None: as the model folder states, direct where it states none.
        draft: longer side of the draft, which is doubled until the image is reached.
        options: in place of the model's, for all stages after the draft.

    The last stage always has the image's size; the others have its aspect ratio, rounded to whole
    tokens. An image that is not larger than the draft is made directly.

    Raises:
        UsageError: stages that do not grow, or are larger than the image; an option out of its
            range; a draft or a window that the model cannot do. Names the value and the range.
        Diffusion4kError: the model folder states stages that cannot be meant.
    """
    asked = options or StageOptions()
    asked.check("stage ", UsageError)
    usual = family.stages(model)
    sides = _sides(usual, stages, draft, max(width, height))
    if len(sides) < 2:
        if asked != StageOptions():
            raise UsageError(
                f"options of stages, but {width}x{height} is made directly: give --stages or "
                "--draft with a draft smaller than the image, or leave the options out"
            )
        return None
    asked = StageOptions(guidance=guidance).over(asked)
    found: list[Stage] = []
    for side in sides:
        if found:
            stage = asked.over(usual.of(side)).over(StageOptions(steps=found[0].steps))
        else:
            stage = StageOptions(steps=steps, guidance=guidance).over(usual.options[0])
        stage = stage.over(StageOptions(steps=defaults.steps, guidance=defaults.guidance))
        own = family.at_factor(stage.factor)
        is_last = len(found) == len(sides) - 1
        size = (width, height) if is_last else _fitted(width, height, side, own.size_step)
        made = _stage(size, stage, own)
        _check(made, own, model)
        found.append(made)
    return tuple(found)


def _sides(
    usual: ModelStages, stages: tuple[int, ...] | None, draft: int | None, side: int
) -> tuple[int, ...]:
    """Longer sides of an image whose own is `side`; fewer than two where it is made directly."""
    if stages is not None and draft is not None:
        raise UsageError("give --stages or --draft, not both")
    if draft is not None:
        if draft < 1:
            raise UsageError(f"draft {draft}: allowed is a number of pixels from 1")
        return doubled(draft, side) if draft < side else ()
    if stages is None:
        if not usual.is_default or usual.sides[0] >= side:
            return ()
        first, *others = usual.sides
        kept = (first, *(other for other in others if side / other >= _LEAST_GROWTH))
        if len(kept) < len(usual.sides):  # What the model states reaches the image's size.
            return (*kept, side)
        return (*kept[:-1], *doubled(kept[-1], side))
    if len(stages) > _MOST_STAGES:
        raise UsageError(f"{len(stages)} stages: allowed are {_MOST_STAGES}")
    for before, after in pairwise((0, *stages)):
        if after <= before:
            raise UsageError(
                f"stages {','.join(map(str, stages))}: each must be larger than the one before, "
                "from the draft on"
            )
    if stages and stages[-1] > side:
        raise UsageError(
            f"stage {stages[-1]}: larger than the image, whose longer side is {side}: leave it "
            "out, or give a larger --width and --height"
        )
    return stages if not stages or stages[-1] == side else (*stages, side)


def _fitted(width: int, height: int, side: int, step: int) -> tuple[int, int]:
    """A size of that aspect ratio whose longer side is about `side`, in multiples of `step`."""
    scale = side / max(width, height)
    fitted = (max(step, round(scale * pixels / step) * step) for pixels in (width, height))
    return tuple(fitted)  # type: ignore[return-value]


def _stage(size: tuple[int, int], options: StageOptions, family: "Family") -> Stage:
    """The stage that complete options make; options without effect are not kept."""
    # With what computes, which loads torch: who only reads requests need not wait for it.

    assert options.steps is not None and options.guidance is not None
    is_guided = options.low_bands not in (None, "off")
    return Stage(
        *size,
        steps=options.steps,
        guidance=float(options.guidance),
        factor=family.factor,
        strength=options.strength,
        window=options.window or None,
        grid=options.grid if options.window else None,
        low_bands=options.low_bands or "off",
        low_bands_weight=options.low_bands_weight if is_guided else None,
        wavelet=options.wavelet if is_guided else None,
        further_levels=options.further_levels if is_guided else None,
        solver=None if options.solver == "own" else options.solver,
        model=options.model,
    )


def _check(stage: Stage, family: "Family", model: Path) -> None:
    """Refuse what the model cannot do."""
    from diffusion4k.families.base import NO_LIMIT

    largest = family.max_side(model)
    reach = largest // family.size_step
    if stage.window and stage.window > reach:
        raise UsageError(
            f"window {stage.window}: too large for this model, whose position embeddings reach "
            f"{reach} tokens a side"
        )
    check_steps(stage.steps, family.least_steps(model))
    if stage.guidance > 1 and family.guidance_kind(model) == "none":
        raise UsageError(f"guidance {stage.guidance:g}: {model.name} takes none")
    # What is seen in windows has no end of its own.
    largest = NO_LIMIT if stage.window else largest
    check_size(stage.width, stage.height, size_step=family.size_step, max_side=largest)
