"""ERNIE-Image (Baidu, 2026), and all models of its layout: one stream on FLUX.2's latents.

- Text: the second last hidden states of Ministral 3, each prompt by itself and without a template.
  The stock pipeline takes as many rows as a prompt has tokens; in the contract they are padded to
  one length and go with a mask. The prompt enhancer that a folder may hold (`pe`) is not used:
  prompts are taken as they are, as with `use_pe=False`.
- Latents: those of FLUX.2's autoencoder, of which the network takes the channels of a token.
- Prediction: the transformer gives the velocity `noise - latents` itself, at `1000 * sigma`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from diffusion4k.families.autoencoder_kl_flux2 import AUTOENCODER_KL_FLUX2, AutoencoderKLFlux2Family
from diffusion4k.families.base import NO_LIMIT, AfterStep, Checkpoint, Defaults, meta_tensor
from diffusion4k.families.spatial import SpatialCall, of_samples
from diffusion4k.families.text_components import padded_conditioning
from diffusion4k.models.folder import transformer_config

__all__ = ["ErnieImage"]

_TIMESTEPS = 1000.0


class ErnieImage(AutoencoderKLFlux2Family):
    """Family of `ErnieImagePipeline` folders; see `families.base.Family`."""

    name = "ernie-image"
    pipeline_class = "ErnieImagePipeline"
    components: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "transformer": ("diffusers.ErnieImageTransformer2DModel",),
        "vae": AUTOENCODER_KL_FLUX2,
        "text_encoder": ("transformers.Mistral3Model",),
        "tokenizer": ("transformers.AutoTokenizer",),
    }
    checkpoints = (
        Checkpoint("baidu/ERNIE-Image", "Apache-2.0"),
        Checkpoint(
            "baidu/ERNIE-Image-Turbo",
            "Apache-2.0",
            # In nothing but weights another model than the one above.
            defaults=Defaults(steps=8, guidance=0.0, width=2048, height=2048),
        ),
    )
    lora_targets = (
        *("to_q", "to_k", "to_v", "to_out.0"),
        *("mlp.gate_proj", "mlp.up_proj", "mlp.linear_fc2"),
    )

    def defaults_for(self, transformer: dict[str, Any], scheduler: dict[str, Any]) -> Defaults:
        """50 steps at guidance 4.0; 2048x2048, 128 tokens a side."""
        return Defaults(50, 4.0, width=self.default_side, height=self.default_side)

    def max_side(self, model: Path) -> int:
        """Rotary embeddings have no end."""
        return NO_LIMIT

    def max_sequence_length(self, model: Path) -> int:
        """Tokens of the text encoder: the stock pipeline has no limit of its own."""
        return 1024

    def variance_floor(self, autoencoder: Any) -> float:
        """The stock pipeline's own, whatever the autoencoder's configuration states."""
        return 1e-5

    def set_timesteps(self, scheduler: Any, steps: int, latents: Tensor) -> None:
        sigmas = torch.linspace(1.0, 0.0, steps + 1)[:-1]
        scheduler.set_timesteps(sigmas=sigmas, device=latents.device)

    @torch.no_grad()
    def encode_text(
        self, text_encoders: Any, captions: list[str], *, negative: bool = False
    ) -> dict[str, Tensor]:
        """Stock `encode_prompt`, padded: `prompt_embeds (B, 1024, D)` and `prompt_mask`."""
        length = text_encoders.max_sequence_length
        found = text_encoders.encode_prompt(list(captions), text_encoders.text_encoder.device)
        # Each token sees only those before it, so that a longer text is cut off afterwards.
        texts = [rows[:length] for rows in found]
        return padded_conditioning(texts, length)

    def empty_conditioning(self, model: Path, captions: int) -> dict[str, Tensor]:
        shape = captions, self.text_tokens(model)
        return {
            "prompt_embeds": meta_tensor(*shape, transformer_config(model)["text_in_dim"]),
            "prompt_mask": meta_tensor(*shape, dtype=torch.bool),
        }

    def velocity(
        self, transformer: nn.Module, noisy: Tensor, sigma: Tensor, conditioning: dict[str, Tensor]
    ) -> Tensor:
        predicted = transformer(
            hidden_states=nn.functional.pixel_unshuffle(noisy, 2),
            timestep=sigma * _TIMESTEPS,
            text_bth=conditioning["prompt_embeds"].to(noisy),
            text_lens=conditioning["prompt_mask"].sum(dim=1),
            return_dict=False,
        )[0]
        return nn.functional.pixel_shuffle(predicted, 2)

    def prepare_block_cache(self, transformer: Any) -> None:
        """A block takes one stream of tokens, by another name than diffusers' caches expect."""
        from diffusion4k.families.block_cache import describe_block

        describe_block(transformer.layers[0], hidden_states_is_first=True)

    def call_arguments(
        self,
        conditioning: dict[str, Tensor],
        *,
        guidance: float,
        negative: dict[str, Tensor] | None = None,
        after_step: AfterStep | None = None,
    ) -> dict[str, Any]:
        """Arguments as in all families, with embeddings as lists of rows without padding."""
        arguments = super().call_arguments({}, guidance=guidance, after_step=after_step)
        arguments["prompt_embeds"] = _rows(conditioning)
        if negative:
            arguments["negative_prompt_embeds"] = _rows(negative)
        return arguments

    def spatial_latents(self, latents: Tensor, autoencoder: Any, width: int, height: int) -> Tensor:
        """From the channels of a token, `(B, 4C, h/2, w/2)`."""
        return nn.functional.pixel_shuffle(latents, 2)

    def spatial_call(
        self, transformer: Any, arguments: dict[str, Any], rows: int, columns: int
    ) -> SpatialCall:
        """Latents with the channels of a token; every tensor has a row for each sample."""
        latents = nn.functional.pixel_shuffle(arguments.pop("hidden_states"), 2)
        arguments["return_dict"] = False

        def predict(pictures: Tensor, samples: Tensor) -> Tensor:
            tokens = nn.functional.pixel_unshuffle(pictures, 2)
            found = transformer(hidden_states=tokens, **of_samples(arguments, samples))[0]
            return nn.functional.pixel_shuffle(found, 2)

        level = self.noise_level(transformer, arguments["timestep"])
        return SpatialCall(latents, level, predict, self.pipeline_latents)


def _rows(conditioning: dict[str, Tensor]) -> list[Tensor]:
    """Embeddings `(tokens, D)` of each prompt's own tokens."""
    pairs = zip(conditioning["prompt_embeds"], conditioning["prompt_mask"], strict=True)
    return [embeds[mask.bool()] for embeds, mask in pairs]
