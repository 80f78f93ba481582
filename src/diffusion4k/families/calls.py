"""How a family's transformer is called: by us for a velocity, and by the stock pipeline."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from diffusion4k.errors import Diffusion4kError
from diffusion4k.families.spatial import NoiseLevel, SpatialCall, of_samples
from diffusion4k.models.folder import SETTINGS, model_settings
from diffusion4k.models.high_resolution import HighResolution

__all__ = [
    "AfterStep",
    "GuidanceKind",
    "TransformerCalls",
    "config_of",
    "is_guided",
    "meta_tensor",
]

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

    position_methods: ClassVar[tuple[str, ...]] = ()
    """What `high_resolution.positions` may be."""

    def scale_positions(self, transformer: Any, wanted: HighResolution) -> None:
        """Change the positions as requested, by one of `position_methods`."""
        raise NotImplementedError

    def unseen_layers(self, transformer: Any) -> list[str]:
        """Names of layers whose output the prediction does not depend on."""
        return []

    prompt_comes_first: ClassVar[bool] = False
    """Whether the stock pipeline, guiding, has the prompt's half before the negative prompt's."""

    guides_in_turn: ClassVar[bool] = False
    """Whether it calls for the two predictions one after the other, the prompt's first, and not for
    both at once."""

    has_block_cache: ClassVar[bool] = True
    """Whether diffusers' caches can skip the transformer's blocks, `prepare_block_cache` done."""

    def guidance_weight(self, guidance: float) -> float:
        """Scale w of the stock formula, negative + w (prompt - negative)."""
        return guidance

    def prepare_block_cache(self, transformer: Any) -> None:  # noqa: B027 - most need nothing
        """Tell diffusers' caches what they must know of the transformer's blocks."""

    def mag_ratios(self, model: Path) -> list[float] | None:
        """How the magnitude of what the blocks add changes from step to step, for `--cache mag`.

        The model's own, as its `diffusion4k.json` states them, one for each step that they were
        measured with; None: they are not known.

        Raises:
            Diffusion4kError: what it states is no list of positive numbers.
        """
        stated = model_settings(model).get("mag_ratios")
        if stated is None:
            return None
        if (
            not isinstance(stated, list)
            or not stated
            or not all(isinstance(ratio, (int, float)) and ratio > 0 for ratio in stated)
        ):
            raise Diffusion4kError(
                f"{model / SETTINGS}: mag_ratios: found {stated!r}, allowed a list of numbers "
                "above 0"
            )
        return [float(ratio) for ratio in stated]

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

    def spatial_latents(self, latents: Tensor, autoencoder: Any, width: int, height: int) -> Tensor:
        """Latents as the stock pipeline returns them, as normalised `(B, C, H/F, W/F)`.

        `autoencoder` is the pipeline's: some return what it decodes.
        """
        return latents

    def pipeline_latents(self, latents: Tensor) -> Tensor:
        """Normalised `(B, C, H/F, W/F)` as the stock pipeline's call takes its `latents`."""
        return latents

    def set_timesteps(self, scheduler: Any, steps: int, latents: Tensor) -> None:
        """Set the timesteps that the stock pipeline's call sets for these latents."""
        scheduler.set_timesteps(steps, device=latents.device)

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


def meta_tensor(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """A tensor of that shape without contents."""
    return torch.empty(shape, dtype=dtype, device="meta")


def config_of(transformer: nn.Module) -> Any:
    """The configuration of a diffusers model, also inside a data-parallel wrapper."""
    return getattr(transformer, "module", transformer).config
