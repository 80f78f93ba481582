"""Stable Diffusion 3 and 3.5 (Esser et al., arXiv 2403.03206), and all models of their layout.

- Text: two CLIP encoders (77 tokens; penultimate hidden states side by side, zero-padded to the
  width of T5) and, where the model has one, T5 behind them (zeros where it has not). T5 takes 256
  tokens as in the stock pipeline, or `max_sequence_length` of the model's `diffusion4k.json`.
- Latents: `(x - shift_factor) * scaling_factor` of the autoencoder's output, both ways.
- Prediction: the transformer gives the velocity `noise - latents` itself, at `1000 * sigma`.
"""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from diffusers import (
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from torch import Tensor, nn
from transformers import CLIPTextModelWithProjection, CLIPTokenizer, T5EncoderModel, T5TokenizerFast

from diffusion4k.errors import Diffusion4kError
from diffusion4k.families.base import Defaults, model_defaults, model_settings
from diffusion4k.families.folder import (
    check_weights,
    has_component,
    load_component,
    loading,
    read_json,
)
from diffusion4k.vae import FACTOR, check_decode_memory, decode_strips, load_autoencoder

__all__ = ["StableDiffusion3"]

_TIMESTEPS = 1000.0
_T5_TOKENS = 256


class StableDiffusion3:
    """Family of `StableDiffusion3Pipeline` folders; see `families.base.Family` for the contract."""

    name = "sd3"
    pipeline_class = "StableDiffusion3Pipeline"
    size_step = 32
    # Attention and MLP of both streams; the second attention is that of 3.5 Medium.
    lora_targets = (
        *(f"{block}.to_{name}" for block in ("attn", "attn2") for name in ("q", "k", "v", "out.0")),
        *(f"attn.add_{name}_proj" for name in ("q", "k", "v")),
        "attn.to_add_out",
        *(f"{block}.net.{layer}" for block in ("ff", "ff_context") for layer in ("0.proj", "2")),
    )
    image_to_image_class = "StableDiffusion3Img2ImgPipeline"

    def defaults(self, model: Path) -> Defaults:
        """28 steps, guidance 7.0 and 4096x4096, or what the model's `diffusion4k.json` says."""
        return model_defaults(model, Defaults(steps=28, guidance=7.0, width=4096, height=4096))

    def max_side(self, model: Path) -> int:
        """Longest side in pixels that the table of position embeddings reaches."""
        config = read_json(model / "transformer" / "config.json")
        return config.get("pos_embed_max_size", 96) * self.size_step

    def load_transformer(self, model: Path, *, dtype: torch.dtype) -> nn.Module:
        """The `SD3Transformer2DModel`."""
        return load_component(SD3Transformer2DModel, model / "transformer", dtype=dtype)

    def load_autoencoder(self, model: Path, *, dtype: torch.dtype) -> nn.Module:
        """The `PartitionedAutoencoderKL` (F=16), converted if the folder holds a stock one."""
        check_weights(model / "vae")
        autoencoder = load_autoencoder(model / "vae", dtype)
        if autoencoder.config.shift_factor is None:
            raise Diffusion4kError(
                f"{model / 'vae' / 'config.json'}: shift_factor is missing; "
                "Stable Diffusion 3 autoencoders have one (0.0609 in the published model)"
            )
        return autoencoder.eval()

    def load_text_encoders(self, model: Path, *, dtype: torch.dtype) -> StableDiffusion3Pipeline:
        """The stock pipeline with tokenizers and text encoders only; `.to(device)` moves it."""
        config = read_json(model / "transformer" / "config.json")
        pipeline = StableDiffusion3Pipeline(
            transformer=None, vae=None, scheduler=None, **_text_components(model, dtype)
        )
        stated = model_settings(model)
        pipeline.max_sequence_length = stated.get("max_sequence_length", _T5_TOKENS)
        # Where there is no T5 the stock `encode_prompt` asks the transformer how wide it would be.
        pipeline.transformer = SimpleNamespace(config=SimpleNamespace(**config))
        return pipeline

    @torch.no_grad()
    def encode_text(
        self, text_encoders: StableDiffusion3Pipeline, captions: list[str]
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

    def encode_images(self, autoencoder: Any, images: Tensor) -> Tensor:
        """Images `(B, 3, H, W)` in [-1, 1] to normalised latents `(B, C, H/16, W/16)`."""
        latents = autoencoder.encode(images).latent_dist.mode()
        return (latents - autoencoder.config.shift_factor) * autoencoder.config.scaling_factor

    def decode_latents(self, autoencoder: Any, latents: Tensor) -> Tensor:
        """Normalised latents `(B, C, h, w)` to images `(B, 3, 16h, 16w)` in about [-1, 1]."""
        latents = latents / autoencoder.config.scaling_factor + autoencoder.config.shift_factor
        return autoencoder.decode(latents).sample

    def check_decode_memory(
        self, autoencoder: Any, width: int, height: int, max_memory: int | str | None
    ) -> None:
        """See whether images of `width` x `height` pixels can be decoded within `max_memory`."""
        check_decode_memory(autoencoder, height // FACTOR, width // FACTOR, max_memory)

    def decode_strips(
        self, autoencoder: Any, latents: Tensor, max_memory: int | str | None = None
    ) -> Iterator[Tensor]:
        """The image of one normalised latent `(1, C, h, w)`, in strips `(1, 3, rows, 16w)`."""
        latents = latents / autoencoder.config.scaling_factor + autoencoder.config.shift_factor
        for _, strip in decode_strips(autoencoder, latents, max_memory):
            yield strip

    def velocity(
        self, transformer: nn.Module, noisy: Tensor, sigma: Tensor, conditioning: dict[str, Tensor]
    ) -> Tensor:
        """Predicted `noise - latents` of shape `(B, C, h, w)` at `noisy` and sigma `(B,)`."""
        return transformer(
            hidden_states=noisy,
            timestep=sigma * _TIMESTEPS,
            encoder_hidden_states=conditioning["prompt_embeds"].to(noisy),
            pooled_projections=conditioning["pooled_prompt_embeds"].to(noisy),
            return_dict=False,
        )[0]

    def load_pipeline(
        self, model: Path, *, dtype: torch.dtype, text_encoders: bool = True
    ) -> StableDiffusion3Pipeline:
        """The stock pipeline, its autoencoder at F=16; without text encoders for embeddings."""
        with loading(model / "scheduler"):
            scheduler = FlowMatchEulerDiscreteScheduler.from_pretrained(model / "scheduler")
        text = _text_components(model, dtype) if text_encoders else dict.fromkeys(_TEXT_COMPONENTS)
        return StableDiffusion3Pipeline(
            transformer=self.load_transformer(model, dtype=dtype),
            vae=self.load_autoencoder(model, dtype=dtype),
            scheduler=scheduler,
            **text,
        )


_TEXT_COMPONENTS = {
    "text_encoder": CLIPTextModelWithProjection,
    "text_encoder_2": CLIPTextModelWithProjection,
    "text_encoder_3": T5EncoderModel,
    "tokenizer": CLIPTokenizer,
    "tokenizer_2": CLIPTokenizer,
    "tokenizer_3": T5TokenizerFast,
}


def _text_components(model: Path, dtype: torch.dtype) -> dict[str, Any]:
    """Text encoders and tokenizers by name; T5 is None where the model has none."""
    parts: dict[str, Any] = {}
    for name, part_class in _TEXT_COMPONENTS.items():
        if name.endswith("_3") and not has_component(model, name):
            parts[name] = None
        elif name.startswith("tokenizer"):
            with loading(model / name):
                parts[name] = part_class.from_pretrained(model / name, local_files_only=True)
        else:
            parts[name] = load_component(part_class, model / name, dtype=dtype)
    for number in ("", "_2"):
        # A tokenizer saved without its maximum claims 1e30 tokens, and would pad up to them.
        tokens = parts[f"text_encoder{number}"].config.max_position_embeddings
        tokenizer = parts[f"tokenizer{number}"]
        tokenizer.model_max_length = min(tokenizer.model_max_length, tokens)
    return parts
