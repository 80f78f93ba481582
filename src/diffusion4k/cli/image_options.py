"""Options of an image, which `generate` makes and `plan` plans."""

from typing import Annotated, Any, TypeAlias

from pydantic import ConfigDict

from diffusion4k.cli.section_options import FromOptions, with_section_options
from diffusion4k.config.types import Section
from diffusion4k.errors import UsageError
from diffusion4k.families.stages import StageOptions
from diffusion4k.models.high_resolution import HighResolution
from diffusion4k.sampling.options import LoadingOptions, SamplingOptions

__all__ = [
    "IMAGE",
    "HighResolutionFlags",
    "LoadingFlags",
    "PlannedLoadingFlags",
    "SamplingFlags",
    "StageFlags",
    "StagesAsked",
    "given_high_resolution",
    "with_section_options",
]

IMAGE, _STAGES, _RUNNING = "Image", "Stages of an image", "Running the model"


class StagesAsked(Section):
    """How the stages after the draft are made, in the words of the command line."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    direct: bool = False
    """Not in stages, whatever the model's default."""
    stage_strength: float | None = None
    """Share of the steps that stages after the draft make again."""
    stage_steps: int | None = None
    """Steps of the later stages' schedule; by default the model's own."""
    stage_guidance: float | None = None
    """Guidance scale of the later stages; by default the draft's."""
    window: int | None = None
    """Tokens a side that later stages see at once; 0: the whole image."""
    grid: str | None = None
    """How windows cover the image: shifted from step to step, or overlap."""
    low_bands: str | None = None
    """How later stages keep to the one before: off, constant, falling or replaced."""
    low_bands_weight: float | None = None
    """Weight of that at the first step, above 0 to 1."""
    wavelet: str | None = None
    """Wavelet of that, a discrete one of PyWavelets."""
    further_levels: int | None = None
    """Levels of that beyond the doubling: each leaves an octave more to be made again."""
    solver: str | None = None
    """own or dpm++, which errs less in few steps."""

    def added_to(self, sampling: SamplingOptions) -> SamplingOptions:
        """The options of an image with those of its stages.

        Raises:
            UsageError: `--direct` beside stages.
        """
        if self.direct and (sampling.stages is not None or sampling.draft is not None):
            raise UsageError("--direct contradicts --stages and --draft: leave out one of them")
        own = self.model_dump(exclude_unset=True, exclude={"direct"})
        later = StageOptions(**{name.removeprefix("stage_"): own[name] for name in own})
        more: dict[str, Any] = {"stages": ()} if self.direct else {}
        if later != StageOptions():
            more["stage_options"] = later
        return sampling.model_copy(update=more)


SamplingFlags: TypeAlias = Annotated[
    SamplingOptions,
    FromOptions(
        IMAGE, panels=dict.fromkeys(("stages", "draft"), _STAGES), leave_out=("stage_options",)
    ),
]
StageFlags: TypeAlias = Annotated[StagesAsked, FromOptions(_STAGES)]
LoadingFlags: TypeAlias = Annotated[LoadingOptions, FromOptions(_RUNNING)]
PlannedLoadingFlags: TypeAlias = Annotated[
    LoadingOptions, FromOptions(_RUNNING, leave_out=("compile", "attention"))
]
"""Without what changes neither memory nor, as far as is known, time."""
HighResolutionFlags: TypeAlias = Annotated[
    HighResolution, FromOptions("Beyond the training size", leave_out=("side",))
]


def given_high_resolution(options: HighResolution, sampling: SamplingOptions) -> dict[str, Any]:
    """Those options that are given; a table of positions reaches the image's longer side."""
    from diffusion4k.models.high_resolution import given_options

    given = options.model_dump(exclude_unset=True)
    return given_options((sampling.width, sampling.height), **given)
