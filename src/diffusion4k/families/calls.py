"""How a family's transformer is called: by us for a velocity, and by the stock pipeline."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from diffusion4k.families.spatial import NoiseLevel, SpatialCall, of_samples

__all__ = ["AfterStep", "GuidanceKind", "TransformerCalls", "is_guided"]

AfterStep = Callable[[int, Tensor], None]
"""Called after each sampling step with its number, from 0, and the latents."""

GuidanceKind = Literal["classifier-free", "embedded", "none"]
"""What a guidance scale does: a second prediction, of the negative prompt, pushes the first away
from it; or the network takes it as an input; or the network takes none."""


def is_guided(kind: GuidanceKind, guidance: float) -> bool:
    """Whether a second prediction, of the negative prompt, is made in each step."""
    return kind == "classifier-free" and guidance > 1


class TransformerCalls(ABC):
    """How a family's transformer is called.

    Latents here are normalised and spatial, `(B, C, H/F, W/F)`, however the transformer has them;
    sigma is `(B,)` in [0, 1].
    """

    prompt_comes_first: ClassVar[bool] = False
    """Whether the stock pipeline, guiding, has the prompt's half before the negative prompt's."""

    guides_in_turn: ClassVar[bool] = False
    """Whether it calls for the two predictions one after the other, the prompt's first, and not for
    both at once."""

    def guidance_weight(self, guidance: float) -> float:
        """Scale w of the stock formula, negative + w (prompt - negative)."""
        return guidance

    def prepare_block_cache(self, transformer: Any) -> None:  # noqa: B027 - most need nothing
        """Tell diffusers' caches what they must know of the transformer's blocks."""

    @abstractmethod
    def velocity(
        self, transformer: nn.Module, noisy: Tensor, sigma: Tensor, conditioning: dict[str, Tensor]
    ) -> Tensor:
        """The transformer's prediction at `noisy` and `sigma`, as a velocity like `noisy`."""

    def call_arguments(
        self,
        conditioning: dict[str, Tensor],
        *,
        guidance: float,
        negative: dict[str, Tensor] | None = None,
        after_step: AfterStep | None = None,
    ) -> dict[str, Any]:
        """Keyword arguments by which the stock pipeline takes all this.

        Embeddings go by their names, those of the negative prompt with `negative_` before them.

        `negative` is the conditioning of the negative prompt: given if and only if guidance is
        classifier-free and above 1.
        """
        arguments: dict[str, Any] = {"guidance_scale": guidance, **conditioning}
        arguments |= {f"negative_{name}": value for name, value in (negative or {}).items()}
        if after_step:

            def callback(_: Any, step: int, __: Any, tensors: dict[str, Tensor]) -> dict[str, Any]:
                after_step(step, tensors["latents"])
                return tensors

            arguments["callback_on_step_end"] = callback
        return arguments

    def spatial_latents(self, latents: Tensor, width: int, height: int) -> Tensor:
        """Latents as the stock pipeline returns them, as normalised `(B, C, H/F, W/F)`."""
        return latents

    def noise_level(self, transformer: Any, timestep: Tensor) -> NoiseLevel:
        """Noise level of a timestep as the transformer takes it, in thousandths of sigma."""
        return NoiseLevel.flow(timestep / 1000.0)

    def spatial_call(
        self, transformer: Any, arguments: dict[str, Any], rows: int, columns: int
    ) -> SpatialCall:
        """A call of the transformer by the stock pipeline, by its arguments' names.

        `rows` and `columns` are those of the latents. Here latents come as `hidden_states`, and
        every tensor has a row for each sample.
        """
        latents = arguments.pop("hidden_states")
        arguments["return_dict"] = False

        def predict(pictures: Tensor, samples: Tensor) -> Tensor:
            found: Tensor = transformer(hidden_states=pictures, **of_samples(arguments, samples))[0]
            return found

        level = self.noise_level(transformer, arguments["timestep"])
        return SpatialCall(latents, level, predict, output=lambda predicted: predicted)
