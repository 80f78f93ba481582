"""Stable Diffusion 3 and 3.5 (Esser et al., arXiv 2403.03206), and all models of their layout.

- Text: two CLIP encoders (77 tokens; penultimate hidden states side by side, zero-padded to the
  width of T5) and, where the model has one, T5 behind them (zeros where it has not). T5 takes 256
  tokens as in the stock pipeline, or `max_sequence_length` of the model's `diffusion4k.json`.
- Latents: shifted and scaled; the shift must be there.
- Prediction: the transformer gives the velocity `noise - latents` itself, at `1000 * sigma`.
"""

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from diffusion4k.errors import Diffusion4kError
from diffusion4k.families.autoencoder_kl import AUTOENCODER_KL, AutoencoderKLFamily
from diffusion4k.families.base import Checkpoint, Defaults, meta_tensor
from diffusion4k.models.folder import (
    component_folder,
    read_json,
    transformer_config,
)
from diffusion4k.models.high_resolution import TABLE, HighResolution
from diffusion4k.models.positions import resize_table

__all__ = ["StableDiffusion3"]

_TIMESTEPS = 1000.0
_STABILITY = "Stability AI Community Licence"


class StableDiffusion3(AutoencoderKLFamily):
    """Family of `StableDiffusion3Pipeline` folders; see `families.base.Family`."""

    name = "sd3"
    pipeline_class = "StableDiffusion3Pipeline"
    components: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "transformer": ("diffusers.SD3Transformer2DModel",),
        "vae": AUTOENCODER_KL,
        "text_encoder": ("transformers.CLIPTextModelWithProjection",),
        "text_encoder_2": ("transformers.CLIPTextModelWithProjection",),
        "text_encoder_3": ("transformers.T5EncoderModel",),
        "tokenizer": ("transformers.CLIPTokenizer",),
        "tokenizer_2": ("transformers.CLIPTokenizer",),
        "tokenizer_3": ("transformers.T5TokenizerFast",),
    }
    schedulers: ClassVar[tuple[str, ...]] = (
        "FlowMatchEulerDiscreteScheduler",
        "FlowMatchHeunDiscreteScheduler",
    )
    optional: ClassVar[frozenset[str]] = frozenset({"text_encoder_3", "tokenizer_3"})
    position_methods: ClassVar[tuple[str, ...]] = TABLE
    checkpoints = (
        Checkpoint("stabilityai/stable-diffusion-3-medium-diffusers", _STABILITY, gated=True),
        Checkpoint("stabilityai/stable-diffusion-3.5-medium", _STABILITY, gated=True),
        Checkpoint("stabilityai/stable-diffusion-3.5-large", _STABILITY, gated=True),
        Checkpoint(
            "stabilityai/stable-diffusion-3.5-large-turbo",
            _STABILITY,
            gated=True,
            # In nothing but weights another model than the one above.
            defaults=Defaults(steps=4, guidance=0.0, width=4096, height=4096),
        ),
    )
    image_to_image_class = "StableDiffusion3Img2ImgPipeline"

    def defaults_for(self, transformer: dict[str, Any], scheduler: dict[str, Any]) -> Defaults:
        """28 steps, guidance 7.0; 4096x4096 at F=16, 2048x2048 at F=8."""
        return Defaults(28, 7.0, width=self.default_side, height=self.default_side)

    def max_side(self, model: Path) -> int:
        """Longest side in pixels that the table of position embeddings reaches."""
        config = transformer_config(model)
        wanted = self.high_resolution(model)
        longer = (wanted.side or 0) if wanted.positions else 0
        return max(config.get("pos_embed_max_size", 96) * self.size_step, longer)

    def scale_positions(self, transformer: Any, wanted: HighResolution) -> None:
        """Continue the table, or divide it finer, up to `high_resolution.side`."""
        assert wanted.side is not None
        tokens = -(-wanted.side // self.size_step)
        resize_table(transformer, tokens, interpolate=wanted.positions == "interpolate")

    def max_sequence_length(self, model: Path) -> int:
        """T5's tokens, as in the stock pipeline."""
        return 256

    def load_autoencoder(self, model: Path, *, dtype: torch.dtype) -> nn.Module:
        autoencoder: Any = super().load_autoencoder(model, dtype=dtype)
        if autoencoder.config.shift_factor is None:
            raise Diffusion4kError(
                f"{component_folder(model, 'vae') / 'config.json'}: shift_factor is missing; "
                "Stable Diffusion 3 autoencoders have one (0.0609 in the published model)"
            )
        return autoencoder

    def load_text_encoders(self, model: Path, *, dtype: torch.dtype) -> Any:
        pipeline = super().load_text_encoders(model, dtype=dtype)
        config = transformer_config(model)
        # Where there is no T5 the stock `encode_prompt` asks the transformer how wide it would be.
        pipeline.transformer = SimpleNamespace(config=SimpleNamespace(**config))
        return pipeline

    @torch.no_grad()
    def encode_text(
        self, text_encoders: Any, captions: list[str], *, negative: bool = False
    ) -> dict[str, Tensor]:
        """Stock `encode_prompt`: `prompt_embeds (B, L, D)`, `pooled_prompt_embeds (B, P)`.

        L is the CLIP tokenizer's length plus T5's, 333 for the published models.
        """
        prompt_embeds, _, pooled_prompt_embeds, _ = text_encoders.encode_prompt(
            prompt=list(captions),
            prompt_2=None,
            prompt_3=None,
            device=text_encoders.text_encoder.device,
            do_classifier_free_guidance=False,
            max_sequence_length=text_encoders.max_sequence_length,
        )
        return {"prompt_embeds": prompt_embeds, "pooled_prompt_embeds": pooled_prompt_embeds}

    def empty_conditioning(self, model: Path, captions: int) -> dict[str, Tensor]:
        config = transformer_config(model)
        clip = read_json(component_folder(model, "text_encoder") / "config.json")
        tokens = clip.get("max_position_embeddings", 77) + self.text_tokens(model)
        return {
            "prompt_embeds": meta_tensor(captions, tokens, config["joint_attention_dim"]),
            "pooled_prompt_embeds": meta_tensor(captions, config["pooled_projection_dim"]),
        }

    def prepare_block_cache(self, transformer: Any) -> None:
        """The last block drops the text, whose change diffusers' caches would keep as well."""
        from diffusion4k.families.block_cache import keep_text

        keep_text(transformer.transformer_blocks[-1])

    def velocity(
        self, transformer: nn.Module, noisy: Tensor, sigma: Tensor, conditioning: dict[str, Tensor]
    ) -> Tensor:
        return transformer(
            hidden_states=noisy,
            timestep=sigma * _TIMESTEPS,
            encoder_hidden_states=conditioning["prompt_embeds"].to(noisy),
            pooled_projections=conditioning["pooled_prompt_embeds"].to(noisy),
            return_dict=False,
        )[0]
