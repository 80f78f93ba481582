"""Sana (Xie et al., arXiv 2410.10629): linear attention on latents of 32x32 pixels.

- Text: Gemma 2's hidden states of 300 tokens and their mask. Prompts stand behind the instruction
  that the stock pipeline has as its default; negative prompts and the empty caption do not.
- Latents: scaled; the autoencoder is an `AutoencoderDC` at F=32 with 32 channels, a token is one
  latent.
- Prediction: the transformer gives the velocity `noise - latents` itself, at `1000 * sigma`.
"""

import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from diffusion4k.families.base import (
    NO_LIMIT,
    AfterStep,
    Checkpoint,
    Defaults,
    Family,
    config_of,
    meta_tensor,
)
from diffusion4k.families.spatial import NoiseLevel
from diffusion4k.models.folder import (
    transformer_config,
)
from diffusion4k.vae.encode_dc import encoding_in_strips

__all__ = ["Sana"]

_TIMESTEPS = 1000.0
_NVIDIA = "NSCL v2-custom (NVIDIA License); text encoder: Gemma Terms of Use"


class Sana(Family):
    """Family of `SanaPipeline` folders; see `families.base.Family`."""

    name = "sana"
    pipeline_class = "SanaPipeline"
    components: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "transformer": ("diffusers.SanaTransformer2DModel",),
        "vae": ("diffusers.AutoencoderDC",),
        "text_encoder": ("transformers.Gemma2Model", "Gemma2ForCausalLM"),
        "tokenizer": ("transformers.GemmaTokenizer",),
    }
    schedulers: ClassVar[tuple[str, ...]] = (
        "DPMSolverMultistepScheduler",
        "FlowMatchEulerDiscreteScheduler",
    )
    checkpoints = (
        Checkpoint("Efficient-Large-Model/Sana_1600M_1024px_BF16_diffusers", _NVIDIA),
        Checkpoint("Efficient-Large-Model/Sana_1600M_2Kpx_BF16_diffusers", _NVIDIA),
        Checkpoint(
            "Efficient-Large-Model/Sana_1600M_4Kpx_BF16_diffusers",
            _NVIDIA,
            note="trained at 4096 pixels: 128x128 tokens of its own F=32",
        ),
    )
    factors: ClassVar[tuple[int, ...]] = (32,)
    patch_size: ClassVar[int] = 1
    sample_size: ClassVar[int] = 32

    def defaults_for(self, transformer: dict[str, Any], scheduler: dict[str, Any]) -> Defaults:
        """20 steps, guidance 4.5, and the size of the model's training."""
        side = self.factor * transformer.get("sample_size", self.sample_size)
        return Defaults(steps=20, guidance=4.5, width=side, height=side)

    def max_side(self, model: Path) -> int:
        """There are no positions, or they are computed for any size."""
        return NO_LIMIT

    def max_sequence_length(self, model: Path) -> int:
        """Gemma's tokens behind the instruction, as in the stock pipeline."""
        return 300

    def load_autoencoder(self, model: Path, *, dtype: torch.dtype) -> nn.Module:
        return self._load(model, "vae", dtype)

    @torch.no_grad()
    def encode_text(
        self, text_encoders: Any, captions: list[str], *, negative: bool = False
    ) -> dict[str, Tensor]:
        """Stock `encode_prompt`: `prompt_embeds (B, 300, D)`, `prompt_attention_mask (B, 300)`."""
        encoded = [self._encode(text_encoders, caption, negative) for caption in captions]
        embeds, masks = zip(*encoded, strict=True)
        return {"prompt_embeds": torch.cat(embeds), "prompt_attention_mask": torch.cat(masks)}

    def _encode(self, text_encoders: Any, caption: str, negative: bool) -> tuple[Tensor, Tensor]:
        stock = inspect.signature(type(text_encoders).__call__).parameters
        instruction = stock["complex_human_instruction"].default
        prompt_embeds, mask, _, _ = text_encoders.encode_prompt(
            caption,
            do_classifier_free_guidance=False,
            device=text_encoders.text_encoder.device,
            clean_caption=False,
            max_sequence_length=text_encoders.max_sequence_length,
            complex_human_instruction=None if negative or not caption else instruction,
        )
        return prompt_embeds, mask

    def empty_conditioning(self, model: Path, captions: int) -> dict[str, Tensor]:
        shape = captions, self.text_tokens(model)
        return {
            "prompt_embeds": meta_tensor(*shape, transformer_config(model)["caption_channels"]),
            "prompt_attention_mask": meta_tensor(*shape, dtype=torch.int64),
        }

    def encode_images(self, autoencoder: Any, images: Tensor) -> Tensor:
        with encoding_in_strips(autoencoder):
            latents = autoencoder.encode(images).latent
        return latents * autoencoder.config.scaling_factor

    def draw_latents(
        self,
        autoencoder: Any,
        images: Tensor,
        generator: torch.Generator,
        max_memory: int | str | None = None,
    ) -> Tensor:
        """Normalised latents `(B, 32, H/32, W/32)`: this autoencoder has no posterior."""
        from diffusion4k.vae import lean_encode

        latents = lean_encode(autoencoder, images, max_memory).mode()
        return latents * autoencoder.config.scaling_factor

    def decode_latents(self, autoencoder: Any, latents: Tensor) -> Tensor:
        return autoencoder.decode(latents / autoencoder.config.scaling_factor).sample

    def check_decode_memory(
        self, autoencoder: Any, width: int, height: int, max_memory: int | str | None
    ) -> None:
        from diffusion4k.vae import check_decode_memory

        check_decode_memory(autoencoder, height // self.factor, width // self.factor, max_memory)

    def decode_strips(
        self, autoencoder: Any, latents: Tensor, max_memory: int | str | None = None
    ) -> Iterator[Tensor]:
        from diffusion4k.vae import decode_strips

        latents = latents.to(autoencoder.dtype) / autoencoder.config.scaling_factor
        for _, strip in decode_strips(autoencoder, latents, max_memory):
            yield strip

    def prepare_block_cache(self, transformer: Any) -> None:
        """diffusers' caches know nothing of this family's blocks, which give the image alone."""
        from diffusion4k.families.block_cache import describe_block

        describe_block(transformer.transformer_blocks[0])

    def velocity(
        self, transformer: nn.Module, noisy: Tensor, sigma: Tensor, conditioning: dict[str, Tensor]
    ) -> Tensor:
        return transformer(
            noisy,
            encoder_hidden_states=conditioning["prompt_embeds"].to(noisy),
            encoder_attention_mask=conditioning["prompt_attention_mask"],
            timestep=sigma * _TIMESTEPS * config_of(transformer).timestep_scale,
            return_dict=False,
        )[0]

    def noise_level(self, transformer: Any, timestep: Tensor) -> NoiseLevel:
        return NoiseLevel.flow(timestep / (_TIMESTEPS * config_of(transformer).timestep_scale))

    def call_arguments(
        self,
        conditioning: dict[str, Tensor],
        *,
        guidance: float,
        negative: dict[str, Tensor] | None = None,
        after_step: AfterStep | None = None,
    ) -> dict[str, Any]:
        """Arguments as in all families; the size is not binned."""
        arguments = super().call_arguments(
            conditioning, guidance=guidance, negative=negative, after_step=after_step
        )
        return arguments | {"negative_prompt": None, "use_resolution_binning": False}
