"""The sections `objective` and `timesteps` of a recipe.

Each part of an objective is a section with a `name` and the arguments of the class that it stands
for, under the same names: see `diffusion4k.objectives`. Objective, parts and distribution may be of
one's own: `name: module:Class`, again with its arguments (`own_code`).
"""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Discriminator, Field, Tag

from diffusion4k.config.types import (
    Count,
    NonNegative,
    Number,
    Positive,
    Probability,
    Section,
    Text,
    matching,
    named,
)
from diffusion4k.support.own_code import OWN, is_own

__all__ = [
    "AbsoluteRecipe",
    "BandsRecipe",
    "BetaRecipe",
    "ComposedRecipe",
    "ConstantRecipe",
    "CosMapRecipe",
    "EnergyMaskRecipe",
    "FlowMatchingRecipe",
    "IdentityRecipe",
    "InverseSigmaSquaredRecipe",
    "LogitNormalRecipe",
    "LwdRecipe",
    "MinSnrRecipe",
    "ModeRecipe",
    "ObjectiveRecipe",
    "OwnObjectiveRecipe",
    "OwnRecipe",
    "OwnTimestepsRecipe",
    "PathMinSnrRecipe",
    "PseudoHuberRecipe",
    "SigmaSquaredRecipe",
    "SnrHuberRecipe",
    "SnrHuberWaveletRecipe",
    "SquaredRecipe",
    "TimestepsRecipe",
    "UniformRecipe",
    "WaveletFlowRecipe",
    "WaveletRecipe",
]

Space = Literal["latents", "velocity"]
OwnName = Annotated[str, matching(OWN, "`module:Class` of your own")]


def _of_own(key: str) -> Discriminator:
    """Tells a section whose `key` names something of one's own from those that are known."""

    def kind(value: Any) -> str:
        name = value.get(key) if isinstance(value, dict) else getattr(value, key, None)
        return "own" if is_own(name) else "known"

    return Discriminator(kind)


class OwnRecipe(Section):
    """A class or function of one's own, and its arguments."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: OwnName

    @property
    def code(self) -> str:
        """`module:name`."""
        return self.name

    @property
    def arguments(self) -> dict[str, Any]:
        """All other keys."""
        return dict(self.model_extra or {})


class OwnObjectiveRecipe(OwnRecipe):
    """An objective of one's own."""

    levels: ClassVar[int] = 0


class ConstantRecipe(Section):
    """1 for every noise level."""

    name: Literal["constant"] = "constant"


class SigmaSquaredRecipe(Section):
    """sigma^2."""

    name: Literal["sigma-squared"] = "sigma-squared"


class InverseSigmaSquaredRecipe(Section):
    """1 / sigma^2, for the latents."""

    name: Literal["inverse-sigma-squared"] = "inverse-sigma-squared"


class CosMapRecipe(Section):
    """Stable Diffusion 3's density with a hump at 1/2, for the velocity."""

    name: Literal["cosmap"] = "cosmap"


class MinSnrRecipe(Section):
    """min(SNR, gamma), for the latents."""

    name: Literal["min-snr"] = "min-snr"
    gamma: Positive = 5.0


class PathMinSnrRecipe(Section):
    """sigma / (1 - sigma) * min(SNR, gamma)^beta, for the latents."""

    name: Literal["path-min-snr"] = "path-min-snr"
    gamma: Positive = 5.0
    beta: NonNegative = 1.0


class IdentityRecipe(Section):
    """The error as it is."""

    name: Literal["identity"] = "identity"


class BandsRecipe(Section):
    """Weights at one noise level: of LL, and of LH, HL, HH for each level, the finest first."""

    sigma: Probability = 0.0
    low: NonNegative = 1.0
    detail: tuple[tuple[NonNegative, NonNegative, NonNegative], ...]


class WaveletRecipe(Section):
    """Sub-bands; no `bands`: weights 1, one: these, several: linear in sigma between them."""

    name: Literal["wavelet"] = "wavelet"
    wavelet: Text = "haar"
    levels: Annotated[Count, Field(le=10)] = 1
    bands: tuple[BandsRecipe, ...] = ()


class SquaredRecipe(Section):
    """r^2."""

    name: Literal["squared"] = "squared"


class AbsoluteRecipe(Section):
    """|r|."""

    name: Literal["l1"] = "l1"


class PseudoHuberRecipe(Section):
    """Squared for small errors, absolute beyond c."""

    name: Literal["pseudo-huber"] = "pseudo-huber"
    c: Positive = 1.0


class SnrHuberRecipe(Section):
    """Pseudo-Huber whose c goes from c_min to c_max as the signal grows."""

    name: Literal["snr-huber"] = "snr-huber"
    c_min: Positive = 0.2
    c_max: Positive = 1.0
    gamma: Positive = 5.0
    alpha: Probability = 0.5


class EnergyMaskRecipe(Section):
    """All positions up to noise level `lower`, beyond it only those rich in detail."""

    lower: Probability = 0.3
    of: Literal["latents", "noisy"] = "latents"


class FlowMatchingRecipe(Section):
    """Mean squared error of the velocity."""

    name: Literal["flow-matching"] = "flow-matching"
    levels: ClassVar[int] = 0
    """Levels of the wavelet transform: sides in latents must be multiples of 2^levels."""


class WaveletFlowRecipe(Section):
    """Squared error in wavelet sub-bands (LL, LH, HL, HH), of the velocity or the clean latents."""

    name: Literal["wavelet-flow"] = "wavelet-flow"
    wavelet: Text = "haar"
    space: Space = "velocity"
    band_weights: tuple[NonNegative, NonNegative, NonNegative, NonNegative] = (1, 1, 1, 1)
    levels: ClassVar[int] = 1


class SnrHuberWaveletRecipe(Section):
    """UltraFlux: SNR-aware pseudo-Huber norm of the sub-bands of the clean latents' error."""

    name: Literal["snr-huber-wavelet"] = "snr-huber-wavelet"
    wavelet: Text = "haar"
    c_min: Positive = 0.2
    c_max: Positive = 1.0
    gamma: Positive = 5.0
    alpha: Probability = 0.5
    beta: NonNegative = 1.0
    levels: ClassVar[int] = 1


class LwdRecipe(EnergyMaskRecipe):
    """Latent wavelet diffusion: flow matching where the mask is 1."""

    name: Literal["lwd"] = "lwd"
    levels: ClassVar[int] = 1


class ComposedRecipe(Section):
    """An objective of one's own parts; without any it is plain flow matching."""

    name: Literal["composed"] = "composed"
    space: Space = "velocity"
    weighting: Annotated[
        Annotated[
            ConstantRecipe
            | SigmaSquaredRecipe
            | InverseSigmaSquaredRecipe
            | CosMapRecipe
            | MinSnrRecipe
            | PathMinSnrRecipe,
            Field(discriminator="name"),
            Tag("known"),
        ]
        | Annotated[OwnRecipe, Tag("own")],
        _of_own("name"),
        named("name", "constant"),
    ] = ConstantRecipe()
    transform: Annotated[
        Annotated[IdentityRecipe | WaveletRecipe, Field(discriminator="name"), Tag("known")]
        | Annotated[OwnRecipe, Tag("own")],
        _of_own("name"),
        named("name", "wavelet"),
    ] = IdentityRecipe()
    norm: Annotated[
        Annotated[
            SquaredRecipe | AbsoluteRecipe | PseudoHuberRecipe | SnrHuberRecipe,
            Field(discriminator="name"),
            Tag("known"),
        ]
        | Annotated[OwnRecipe, Tag("own")],
        _of_own("name"),
        named("name", "squared"),
    ] = SquaredRecipe()
    mask: Annotated[
        Annotated[EnergyMaskRecipe | None, Tag("known")] | Annotated[OwnRecipe, Tag("own")],
        _of_own("name"),
    ] = None

    @property
    def levels(self) -> int:
        """See `FlowMatchingRecipe.levels`."""
        transform = self.transform.levels if isinstance(self.transform, WaveletRecipe) else 0
        return max(transform, 1 if isinstance(self.mask, EnergyMaskRecipe) else 0)


class _ShiftedRecipe(Section):
    """`shift: auto` is the shift with which the model samples images of the crop's size."""

    shift: Positive | Literal["auto"] = 1.0


class LogitNormalRecipe(_ShiftedRecipe):
    """sigma = sigmoid(normal(mean, std))."""

    distribution: Literal["logit-normal"] = "logit-normal"
    mean: Number = 0.0
    std: Positive = 1.0


class UniformRecipe(_ShiftedRecipe):
    """sigma uniform in (0, 1)."""

    distribution: Literal["uniform"] = "uniform"


class ModeRecipe(_ShiftedRecipe):
    """Stable Diffusion 3's density with heavy tails."""

    distribution: Literal["mode"] = "mode"
    scale: Number = 1.29


class BetaRecipe(_ShiftedRecipe):
    """sigma ~ Beta(alpha, beta): (2, 4) has more of the low noise levels, for fine detail."""

    distribution: Literal["beta"] = "beta"
    alpha: Positive = 2.0
    beta: Positive = 4.0


class OwnTimestepsRecipe(Section):
    """A distribution of sigma of one's own, and its arguments."""

    model_config = ConfigDict(extra="allow", frozen=True)

    distribution: OwnName

    @property
    def code(self) -> str:
        """`module:name`."""
        return self.distribution

    @property
    def arguments(self) -> dict[str, Any]:
        """All other keys."""
        return dict(self.model_extra or {})


ObjectiveRecipe = Annotated[
    Annotated[
        FlowMatchingRecipe | WaveletFlowRecipe | SnrHuberWaveletRecipe | LwdRecipe | ComposedRecipe,
        Field(discriminator="name"),
        Tag("known"),
    ]
    | Annotated[OwnObjectiveRecipe, Tag("own")],
    _of_own("name"),
    named("name", "wavelet-flow"),
]
TimestepsRecipe = Annotated[
    Annotated[
        LogitNormalRecipe | UniformRecipe | ModeRecipe | BetaRecipe,
        Field(discriminator="distribution"),
        Tag("known"),
    ]
    | Annotated[OwnTimestepsRecipe, Tag("own")],
    _of_own("distribution"),
    named("distribution", "logit-normal"),
]
