"""FLUX.2 dev (Black Forest Labs, 2025), and what klein (`flux2_klein`) has in common with it.

- Text: hidden states of three layers, side by side: of Mistral Small 3 in dev, of Qwen3 in klein.
  Prompts stand in the chat template of the tokenizer, dev's behind the stock system message, and
  are padded to 512 tokens, all of which the network sees: there is no mask.
- Latents: 32 channels at F=8. The 2x2 latents of a token make 128 channels, each normalised by a
  mean and a variance that the autoencoder holds. A token thus is 16x16 pixels without a partition.
- Prediction: the transformer gives the velocity `noise - latents` itself, at `sigma`.
- Guidance: dev is guidance-distilled, so that the scale is an input of the network.
- Sampling shifts noise levels by the number of tokens and, up to 4300 of them, of steps.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from diffusion4k.families.autoencoder_kl_flux2 import AUTOENCODER_KL_FLUX2, AutoencoderKLFlux2Family
from diffusion4k.families.base import (
    NO_LIMIT,
    Checkpoint,
    Defaults,
    Family,
    GuidanceKind,
    config_of,
    meta_tensor,
)
from diffusion4k.families.packing import packed, token_positions, unpacked
from diffusion4k.families.spatial import NoiseLevel, SpatialCall, of_samples
from diffusion4k.models.folder import transformer_config
from diffusion4k.models.high_resolution import ROTARY, TRAINED_TOKENS, HighResolution
from diffusion4k.models.positions import replace_rotary

__all__ = ["FLUX2_PARTS", "NON_COMMERCIAL", "Flux2", "Flux2Family"]

_TRAINING_GUIDANCE = 3.5
_MOST_BLOCKS = 48
NON_COMMERCIAL = "FLUX Non-Commercial License"
FLUX2_PARTS = {
    "transformer": ("diffusers.Flux2Transformer2DModel",),
    "vae": AUTOENCODER_KL_FLUX2,
}


class Flux2Family(AutoencoderKLFlux2Family):
    """What both layouts have in common."""

    # Its blocks of one stream give text and image as one, which diffusers' caches cannot take.
    has_block_cache = False

    chat_template = True
    position_methods: ClassVar[tuple[str, ...]] = ROTARY
    # A single-stream block has one layer before attention and MLP, and one behind, whose name is
    # that of a list of layers in the other blocks.
    lora_targets = (
        *Family.lora_targets,
        *("ff.linear_in", "ff.linear_out", "ff_context.linear_in", "ff_context.linear_out"),
        "to_qkv_mlp_proj",
        *(f"single_transformer_blocks.{block}.attn.to_out" for block in range(_MOST_BLOCKS)),
    )

    def max_side(self, model: Path) -> int:
        """Rotary embeddings have no end."""
        return NO_LIMIT

    def max_sequence_length(self, model: Path) -> int:
        """Tokens of the text encoder, as in the stock pipeline."""
        return 512

    def scale_positions(self, transformer: Any, wanted: HighResolution) -> None:
        """Scale the rotary embedding beyond `high_resolution.trained_tokens` a side."""
        replace_rotary(
            transformer,
            method=str(wanted.positions),
            trained_tokens=wanted.trained_tokens or TRAINED_TOKENS,
            time_dependent=bool(wanted.time_dependent),
        )

    def timestep_shift(self, model: Path, tokens: int, steps: int | None = None) -> float:
        """By tokens and steps, as the stock pipelines have it, whatever the scheduler states."""
        from diffusers.pipelines.flux2.pipeline_flux2 import compute_empirical_mu

        return math.exp(compute_empirical_mu(tokens, steps or self.defaults(model).steps))

    def set_timesteps(self, scheduler: Any, steps: int, latents: Tensor) -> None:
        from diffusers.pipelines.flux2.pipeline_flux2 import compute_empirical_mu

        rows, columns = (side // self.patch_size for side in latents.shape[-2:])
        mu = compute_empirical_mu(rows * columns, steps)
        sigmas = torch.linspace(1.0, 1 / steps, steps).tolist()
        scheduler.set_timesteps(sigmas=sigmas, mu=mu, device=latents.device)

    @torch.no_grad()
    def encode_text(
        self, text_encoders: Any, captions: list[str], *, negative: bool = False
    ) -> dict[str, Tensor]:
        """Stock `encode_prompt`: `prompt_embeds (B, 512, 3 D)`."""
        prompt_embeds, _ = text_encoders.encode_prompt(
            list(captions),
            device=text_encoders.text_encoder.device,
            max_sequence_length=text_encoders.max_sequence_length,
        )
        return {"prompt_embeds": prompt_embeds}

    def empty_conditioning(self, model: Path, captions: int) -> dict[str, Tensor]:
        width = transformer_config(model)["joint_attention_dim"]
        return {"prompt_embeds": meta_tensor(captions, self.text_tokens(model), width)}

    def velocity(
        self, transformer: nn.Module, noisy: Tensor, sigma: Tensor, conditioning: dict[str, Tensor]
    ) -> Tensor:
        """Predicted `noise - latents` `(B, C, h, w)` at `noisy` and sigma."""
        height, width = noisy.shape[-2:]
        prompt_embeds = conditioning["prompt_embeds"].to(noisy)
        embedded = config_of(transformer).guidance_embeds
        predicted = transformer(
            hidden_states=packed(noisy),
            timestep=sigma,
            guidance=torch.full_like(sigma, _TRAINING_GUIDANCE) if embedded else None,
            encoder_hidden_states=prompt_embeds,
            txt_ids=_text_positions(prompt_embeds),
            img_ids=_image_positions(noisy),
            return_dict=False,
        )[0]
        return unpacked(predicted, height, width)

    def spatial_call(
        self, transformer: Any, arguments: dict[str, Any], rows: int, columns: int
    ) -> SpatialCall:
        """Packed latents, sigma itself as timestep, and positions that begin in each picture."""
        latents = unpacked(arguments.pop("hidden_states"), rows, columns)
        del arguments["img_ids"]
        arguments["return_dict"] = False

        def predict(pictures: Tensor, samples: Tensor) -> Tensor:
            found = transformer(
                hidden_states=packed(pictures),
                img_ids=_image_positions(pictures),
                **of_samples(arguments, samples),
            )[0]
            return unpacked(found, *pictures.shape[-2:])

        return SpatialCall(latents, NoiseLevel.flow(arguments["timestep"]), predict, packed)


class Flux2(Flux2Family):
    """Family of `Flux2Pipeline` folders (dev); see `families.base.Family`."""

    name = "flux2"
    pipeline_class = "Flux2Pipeline"
    components: ClassVar[Mapping[str, tuple[str, ...]]] = FLUX2_PARTS | {
        "text_encoder": ("transformers.Mistral3ForConditionalGeneration",),
        # The stock processor's, without the part that reads images.
        "tokenizer": ("transformers.AutoTokenizer",),
    }
    checkpoints = (Checkpoint("black-forest-labs/FLUX.2-dev", NON_COMMERCIAL, gated=True),)

    def defaults_for(self, transformer: dict[str, Any], scheduler: dict[str, Any]) -> Defaults:
        """50 steps at guidance 4.0, 2048x2048: its makers' 4 megapixels."""
        return Defaults(50, 4.0, width=self.default_side, height=self.default_side)

    def guidance_kind(self, model: Path) -> GuidanceKind:
        """Embedded: the pipeline makes one prediction whatever the scale."""
        return "embedded"

    def spatial_latents(self, latents: Tensor, autoencoder: Any, width: int, height: int) -> Tensor:
        """Packed latents `(B, tokens, 4C)` as `(B, C, height/F, width/F)`."""
        return unpacked(latents, height // self.factor, width // self.factor)


def _text_positions(prompt_embeds: Tensor) -> Tensor:
    """`(B, tokens, 4)`: the number of each token, on the last axis."""
    order = torch.arange(prompt_embeds.shape[1], device=prompt_embeds.device)
    return nn.functional.pad(order[None, :, None], (3, 0)).expand(len(prompt_embeds), -1, -1)


def _image_positions(latents: Tensor) -> Tensor:
    """`(B, tokens, 4)`: 0, row and column of each token, and 0."""
    rows, columns = (side // 2 for side in latents.shape[-2:])
    positions = nn.functional.pad(token_positions(rows, columns), (0, 1))
    return positions.to(latents.device).expand(len(latents), -1, -1)
