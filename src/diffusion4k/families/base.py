"""What the rest of the project may ask of a base-model family."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from diffusion4k.errors import Diffusion4kError
from diffusion4k.families.spatial import SpatialCall
from diffusion4k.families.stages import ModelStages
from diffusion4k.models.folder import (
    SETTINGS,
    model_settings,
)
from diffusion4k.models.high_resolution import HighResolution
from diffusion4k.models.hub import hub_id_of
from diffusion4k.support.text_files import shortened

__all__ = [
    "NO_LIMIT",
    "SETTINGS",
    "AfterStep",
    "Checkpoint",
    "Defaults",
    "Family",
    "GuidanceKind",
    "is_guided",
    "known_defaults",
    "model_defaults",
    "model_memory",
    "model_settings",
    "model_text_tokens",
]

NO_LIMIT = 2**15
"""Longest side in pixels of models whose position embeddings have no end."""

_MOST_TEXT_TOKENS = 1 << 15
AfterStep = Callable[[int, Tensor], None]
"""Called after each sampling step with its number, from 0, and the latents."""

GuidanceKind = Literal["classifier-free", "embedded", "none"]
"""What a guidance scale does: a second prediction, of the negative prompt, pushes the first away
from it; or the network takes it as an input; or the network takes none."""


def is_guided(kind: GuidanceKind, guidance: float) -> bool:
    """Whether a second prediction, of the negative prompt, is made in each step."""
    return kind == "classifier-free" and guidance > 1


@dataclass(frozen=True)
class Defaults:
    """Sampling defaults of a family, or of one model where its folder states its own."""

    steps: int
    guidance: float
    width: int
    height: int


@dataclass(frozen=True)
class Checkpoint:
    """A published model of a family."""

    hub_id: str
    licence: str
    gated: bool = False
    """The licence must be accepted on the hub before it can be downloaded."""
    defaults: Defaults | None = None
    """Where configurations do not tell the model from one that is sampled otherwise."""


def known_defaults(model: Path, checkpoints: tuple[Checkpoint, ...]) -> Defaults | None:
    """Defaults of a known checkpoint, if the folder is the hub's cache of it."""
    ids = {hub_id_of(part) for part in model.parts}
    return next((each.defaults for each in checkpoints if each.hub_id in ids), None)


def model_defaults(model: Path, family: Defaults) -> Defaults:
    """The family's defaults with those that the folder's own `diffusion4k.json` states.

    The file is a JSON object; of its keys `steps`, `guidance`, `width` and `height` count here.

    Raises:
        Diffusion4kError: a value that is not a positive number (guidance may be 0: off).
    """
    path, stated = model / SETTINGS, model_settings(model)
    own = {field.name: stated[field.name] for field in fields(Defaults) if field.name in stated}
    for key, value in own.items():
        kinds = (int, float) if key == "guidance" else (int,)
        least = 0 if key == "guidance" else 1
        if isinstance(value, bool) or not isinstance(value, kinds) or not least <= value < 1 << 31:
            raise Diffusion4kError(
                f"{path}: {key} is {shortened(value)}: allowed is a number >= {least}"
            )
    return replace(family, **own)


def model_memory(model: Path) -> int | str | None:
    """What the folder's own `diffusion4k.json` states as `max_memory`: bytes or `"512MiB"`.

    It limits the autoencoder's feature maps by default.

    Raises:
        Diffusion4kError: neither a whole number nor a text.
    """
    found: int | str | None = model_settings(model).get("max_memory")
    if isinstance(found, bool) or not isinstance(found, (int, str, type(None))):
        raise Diffusion4kError(
            f"{model / SETTINGS}: max_memory is {found!r}: allowed is a size like 512MiB"
        )
    return found


def model_text_tokens(model: Path) -> int | None:
    """What the folder's own `diffusion4k.json` states as `max_sequence_length`; None: nothing.

    Raises:
        Diffusion4kError: no whole number, or none that a text encoder takes.
    """
    stated: Any = model_settings(model).get("max_sequence_length")
    if stated is not None and not (type(stated) is int and 1 <= stated <= _MOST_TEXT_TOKENS):
        raise Diffusion4kError(
            f"{model / SETTINGS}: max_sequence_length is {shortened(stated)}: allowed is a whole "
            f"number from 1 to {_MOST_TEXT_TOKENS}"
        )
    return stated


class Family(Protocol):
    """One base-model family; `model` is always the local folder of a diffusers pipeline.

    Tensors: images `(B, 3, H, W)` in [-1, 1]; latents `(B, C, H/F, W/F)`, F being `factor`, always
    *normalised* (shifted and scaled as the transformer sees them); sigma `(B,)` in [0, 1];
    the noisy latents are `z = (1 - sigma) * latents + sigma * noise` and the
    velocity target is `noise - latents`.
    """

    name: str
    pipeline_class: str
    checkpoints: tuple[Checkpoint, ...]
    factor: int
    """F: pixels a side of one latent."""
    size_step: int
    """Width and height in pixels are multiples of this: autoencoder factor times patch size."""
    lora_targets: tuple[str, ...]
    """Ends of the names of the linear layers that LoRA adapts by default."""
    image_to_image_class: str | None
    """The stock pipeline that starts from an image; None where diffusers has none."""
    decodes_in_strips: bool
    """Whether the decoder can keep to a memory limit."""
    has_posterior: bool
    """Whether the autoencoder's latents are a distribution, from which they can be drawn."""
    given_text_tokens: int | None
    """Tokens of the longest text, in place of what a model states; None: the model's."""

    def check(self, model: Path) -> None:
        """Check from file names and headers alone that the folder is complete.

        Raises:
            Diffusion4kError: a component is missing, damaged, or of another class.
        """

    def class_named(self, model: Path, component: str) -> Any:
        """The class that the model's index names for a component.

        Raises:
            Diffusion4kError: no class, or one that the family does not allow.
        """

    def high_resolution(self, model: Path) -> HighResolution:
        """The options for sizes beyond its training: the model's own, or those given for it.

        Raises:
            Diffusion4kError: an unknown option, or one that the family does not have.
        """

    def settings(self, model: Path) -> dict[str, Any]:
        """What a model trained with them has to state in its `diffusion4k.json`."""

    def defaults(self, model: Path) -> Defaults:
        """Sampling defaults: the family's, or the model's own."""

    def max_side(self, model: Path) -> int:
        """Longest side in pixels that the model can make at once, without windows."""

    def at_factor(self, factor: int | None) -> "Family":
        """This family with the same options at another factor; None: at its own.

        Raises:
            UsageError: a factor that the family cannot do.
        """

    def stages(self, model: Path) -> ModelStages:
        """How the model makes an image in stages: by the size it was trained at, or as its own
        `diffusion4k.json` states.

        Raises:
            Diffusion4kError: stages there that cannot be meant.
        """

    def guidance_kind(self, model: Path) -> GuidanceKind:
        """What the guidance scale does in this model."""

    def load_transformer(
        self,
        model: Path,
        *,
        dtype: torch.dtype,
        weights: Path | None = None,
        quantization: Any = None,
    ) -> nn.Module:
        """The transformer alone; `weights` (a checkpoint or a GGUF file) may hold it in place of
        the model. `quantization` is a quantisation configuration of diffusers.
        """

    def transformer_skeleton(self, model: Path) -> nn.Module:
        """The transformer without weights, on the "meta" device: names and shapes only."""

    def timestep_shift(self, model: Path, tokens: int) -> float:
        """How sampling shifts the noise levels of an image of so many tokens; 1: not at all."""

    def load_autoencoder(self, model: Path, *, dtype: torch.dtype) -> nn.Module:
        """The autoencoder alone, at `factor`, whatever F the folder holds."""

    def load_text_encoders(self, model: Path, *, dtype: torch.dtype) -> Any:
        """What `encode_text` needs, without transformer or autoencoder."""

    def encode_text(
        self, text_encoders: Any, captions: list[str], *, negative: bool = False
    ) -> dict[str, Tensor]:
        """Conditioning of each caption: tensors whose first axis is the caption's.

        With `negative` as the stock pipeline encodes negative prompts, which is not in all families
        the same. An empty caption is encoded as the negative prompt in any case: it stands for no
        condition at all.
        """

    def text_tokens(self, model: Path) -> int:
        """Tokens of the longest text."""

    def empty_conditioning(self, model: Path, captions: int) -> dict[str, Tensor]:
        """What `encode_text` gives for as many captions of full length, on the meta device."""

    def encode_images(self, autoencoder: Any, images: Tensor) -> Tensor:
        """Images `(B, 3, H, W)` to normalised latents (the posterior's mean)."""

    def encode_posterior(self, autoencoder: Any, images: Tensor) -> Tensor:
        """Mean and standard deviation of normalised latents, `(B, 2C, h, w)`, one behind the other.

        Only where the family `has_posterior`.
        """

    def draw_latents(
        self,
        autoencoder: Any,
        images: Tensor,
        generator: torch.Generator,
        max_memory: int | str | None = None,
    ) -> Tensor:
        """Normalised latents drawn from the posterior where there is one, else the only ones.

        Feature maps take at most `max_memory`.
        """

    def decode_latents(self, autoencoder: Any, latents: Tensor) -> Tensor:
        """Normalised latents to images `(B, 3, H, W)` in about [-1, 1]."""

    def check_decode_memory(
        self, autoencoder: Any, width: int, height: int, max_memory: int | str | None
    ) -> None:
        """See whether images of `width` x `height` pixels can be decoded within `max_memory`.

        Raises:
            UsageError: they cannot; the error says what would do.
        """

    def decode_strips(
        self, autoencoder: Any, latents: Tensor, max_memory: int | str | None = None
    ) -> Iterator[Tensor]:
        """The image of one normalised latent `(1, C, h, w)`: strips `(1, 3, rows, W)` from the top.

        Strips and feature maps take at most `max_memory` (bytes or `"4GiB"`; None: no limit).
        """

    def velocity(
        self, transformer: nn.Module, noisy: Tensor, sigma: Tensor, conditioning: dict[str, Tensor]
    ) -> Tensor:
        """The transformer's prediction at `noisy` and `sigma`, as a velocity like `noisy`."""

    def load_pipeline(
        self,
        model: Path,
        *,
        dtype: torch.dtype,
        text_encoders: bool = True,
        transformer: nn.Module | None = None,
    ) -> Any:
        """The stock diffusers pipeline, its autoencoder at `factor`.

        Without text encoders it takes the conditioning of `encode_text` in place of prompts;
        a `transformer` that is given takes the place of the folder's.
        """

    def call_arguments(
        self,
        conditioning: dict[str, Tensor],
        *,
        guidance: float,
        negative: dict[str, Tensor] | None = None,
        after_step: AfterStep | None = None,
    ) -> dict[str, Any]:
        """Keyword arguments by which the stock pipeline takes all this.

        `negative` is the conditioning of the negative prompt: given if and only if guidance is
        classifier-free and above 1.
        """

    def spatial_latents(self, latents: Tensor, width: int, height: int) -> Tensor:
        """Latents as the stock pipeline returns them, as normalised `(B, C, H/F, W/F)`."""

    def spatial_call(
        self, transformer: Any, arguments: dict[str, Any], rows: int, columns: int
    ) -> SpatialCall:
        """A call of the transformer by the stock pipeline, by its arguments' names.

        `rows` and `columns` are those of the latents.
        """
