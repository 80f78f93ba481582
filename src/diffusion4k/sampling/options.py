"""How an image is made and how its model runs: what commands, recipes and requests have in common.

The command line takes its options, their help and their defaults from these sections; the keys of
benchmarks and the fields of a `Request` are theirs. What a value may be depends on the model:
`sampling.request.settle` and `Sampler` check it.
"""

from typing import Annotated

from pydantic import BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from diffusion4k.config.types import Section
from diffusion4k.families.stages import StageOptions

__all__ = ["LoadingOptions", "SamplingOptions"]

Whole = Annotated[int, Field(strict=True)]


def _levels_of(interval: object) -> object:
    """The lowest and the highest noise level in `0.2,0.8`; anything else as it is."""
    if not isinstance(interval, str):
        return interval
    try:
        low, high = (float(level) for level in interval.split(","))
    except ValueError:
        raise PydanticCustomError(
            "interval",
            "guidance interval {interval}: give the lowest and the highest noise level, e.g. "
            "0.2,0.8",
            {"interval": interval},
        ) from None
    return low, high


def _sides_of(stages: object) -> object:
    """The longer sides in `1024,2048`; anything else as it is."""
    if not isinstance(stages, str):
        return stages
    try:
        return tuple(int(side) for side in stages.split(","))
    except ValueError:
        raise PydanticCustomError(
            "stages",
            "stages {stages}: give longer sides in pixels, separated by commas, e.g. 1024,2048",
            {"stages": stages},
        ) from None


class SamplingOptions(Section):
    """How an image is made; what is None is the model's own.

    Guidance is the classifier-free guidance scale; up to 1 it is off. An image is made in stages
    where its model states them, or where `stages` or `draft` ask for them. Then `steps` are the
    draft's, and `stage_options` those of all stages after it; see `sampling.stages`.
    """

    model_config = ConfigDict(use_attribute_docstrings=True)

    width: Whole | None = None
    """Pixels; by default the model's own."""
    height: Whole | None = None
    """Pixels; by default the model's own."""
    steps: Whole | None = None
    """Sampling steps; by default the model's own."""
    guidance: float | None = None
    """Guidance scale; by default the model's own."""
    negative_prompt: str = ""
    """What the image should not show; needs guidance."""
    shift: float | None = None
    """Shift of noise levels, with --direct: lower spends more steps on detail; by default the
    model's own, by size with Flux."""
    stages: Annotated[tuple[Whole, ...], BeforeValidator(_sides_of)] | None = None
    """Longer sides in pixels, growing: a draft, then each enlarged, e.g. 1024,2048."""
    draft: Whole | None = None
    """Longer side of a draft, which is doubled until the size is reached."""
    stage_options: StageOptions | None = None
    """Options of all stages after the draft."""
    guidance_interval: Annotated[tuple[float, float], BeforeValidator(_levels_of)] | None = None
    """Noise levels, 0 to 1, between which guidance acts, e.g. 0.2,0.8: the steps outside cost half;
    by default all."""
    projected_guidance: bool | None = None
    """Adaptive projected guidance, against burnt colours at a high guidance scale."""
    cache: str | None = None
    """Reuse what steps have in common: first-block[:threshold], taylorseer[:interval],
    mag[:threshold] or off (default). Faster, at a cost in quality: see docs/speed.md."""

    @property
    def asks_for_stages(self) -> bool:
        """Whether stages are asked for, and not left to the model."""
        return bool(self.stages or self.draft or self.stage_options)

    def directly(self) -> "SamplingOptions":
        """The same, not in stages."""
        return self.model_copy(update={"stages": (), "draft": None, "stage_options": None})

    def over(self, other: "SamplingOptions") -> "SamplingOptions":
        """These options, and those of `other` that these leave to the model."""
        own = {name: getattr(self, name) for name in SamplingOptions.model_fields}
        given = {name: value for name, value in own.items() if value not in (None, "")}
        if self.draft is not None:
            given.setdefault("stages", None)
        return other.model_copy(update=given)


class LoadingOptions(Section):
    """How a model is loaded and run; `Sampler` takes them by these names."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    weights: str | None = None
    """The transformer's: fp8, int8, nf4, gguf:FILE or file:FILE (.safetensors)."""
    memory: str = "balanced"
    """low, balanced (default) or high; stderr says what it does."""
    max_memory: str | None = None
    """Limit for the decoder's feature maps, e.g. 2GiB; by default none."""
    factor: Whole | None = None
    """Pixels a side of one latent: 16 (default) or the autoencoder's own 8; Sana: 32."""
    compile: bool = False
    """Compile the transformer's blocks: the first image waits for it, the others are faster."""
    attention: str | None = None
    """sdpa (PyTorch's own, default), flash3, sage or flex."""
    dtype: str = "auto"
    """auto (default), float32, bfloat16 or float16; auto chooses by device."""
