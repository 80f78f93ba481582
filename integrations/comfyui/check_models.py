"""Tiny transformers that both diffusers and ComfyUI can build, and one input for each."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    FluxPipeline,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
)
from torch import Tensor, nn

__all__ = ["TRANSFORMERS", "Example", "sd3_autoencoder", "write_model"]

_SIDE = 12  # latents a side
_TOKENS = 7


@dataclass(frozen=True)
class Example:
    """A transformer, and how either program runs it once on the same latents and embeddings.

    Attributes:
        family: diffusion4k's name of it.
        make: it with random weights.
        index: what `model_index.json` of its folder says.
        run_diffusers: its output `(1, 16, h, w)` by diffusers' class.
        run_comfy: the same by ComfyUI's.
        sizes: what ComfyUI does not read from a file.
    """

    name: str
    family: str
    make: Callable[[], nn.Module]
    index: Mapping[str, Any]
    run_diffusers: Callable[[Any], Tensor]
    run_comfy: Callable[[Any], Tensor]
    sizes: Mapping[str, Any] = field(default_factory=dict)

    def build(self) -> nn.Module:
        """The same weights each time, none of them zero."""
        with torch.random.fork_rng():
            torch.manual_seed(0)
            made = self.make().eval()
            for parameter in made.parameters():
                if not parameter.any():
                    nn.init.normal_(parameter, std=0.02)
            return made


def _sd3(**options: Any) -> nn.Module:
    # ComfyUI takes the width for 64 times the depth.
    return SD3Transformer2DModel(
        sample_size=16,
        num_layers=2,
        attention_head_dim=64,
        num_attention_heads=2,
        joint_attention_dim=48,
        caption_projection_dim=128,
        pooled_projection_dim=32,
        pos_embed_max_size=16,
        **options,
    )


def _flux(distilled: bool) -> nn.Module:
    return FluxTransformer2DModel(
        num_layers=2,
        num_single_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=48,
        pooled_projection_dim=32,
        axes_dims_rope=(4, 4, 8),
        guidance_embeds=distilled,
    )


def _inputs() -> tuple[Tensor, Tensor, Tensor]:
    """Latents, embeddings of a prompt, and pooled ones."""
    generator = torch.Generator().manual_seed(1)
    shapes = ((1, 16, _SIDE, _SIDE), (1, _TOKENS, 48), (1, 32))
    latents, prompt, pooled = (torch.randn(shape, generator=generator) for shape in shapes)
    return latents, prompt, pooled


def _sd3_by_diffusers(transformer: Any) -> Tensor:
    latents, prompt, pooled = _inputs()
    return transformer(latents, prompt, pooled, torch.tensor([700.0])).sample


def _sd3_by_comfy(transformer: Any) -> Tensor:
    latents, prompt, pooled = _inputs()
    return transformer(latents, torch.tensor([700.0]), context=prompt, y=pooled)


def _flux_by_diffusers(transformer: Any) -> Tensor:
    latents, prompt, pooled = _inputs()
    packed = FluxPipeline._pack_latents(latents, 1, 16, _SIDE, _SIDE)
    half = _SIDE // 2
    places = FluxPipeline._prepare_latent_image_ids(1, half, half, "cpu", torch.float32)
    found = transformer(
        packed,
        encoder_hidden_states=prompt,
        pooled_projections=pooled,
        timestep=torch.tensor([0.7]),
        img_ids=places,
        txt_ids=torch.zeros(_TOKENS, 3),
        guidance=torch.tensor([3.5]) if transformer.config.guidance_embeds else None,
    ).sample
    return FluxPipeline._unpack_latents(found, 8 * _SIDE, 8 * _SIDE, 8)


def _flux_by_comfy(transformer: Any) -> Tensor:
    latents, prompt, pooled = _inputs()
    guidance = torch.tensor([3.5]) if transformer.params.guidance_embed else None
    return transformer(latents, torch.tensor([0.7]), prompt, pooled, guidance)


_CLIP = ["transformers", "CLIPTextModelWithProjection"]
_T5 = {
    "encoder": ["transformers", "T5EncoderModel"],
    "tokenizer": ["transformers", "T5TokenizerFast"],
}
_TOKENIZER = ["transformers", "CLIPTokenizer"]
_COMMON = {
    "_diffusers_version": "0.42.1",
    "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
    "vae": ["diffusers", "AutoencoderKL"],
    "tokenizer": _TOKENIZER,
}
_SD3: dict[str, Any] = {
    "family": "sd3",
    "run_diffusers": _sd3_by_diffusers,
    "run_comfy": _sd3_by_comfy,
    "index": {
        **_COMMON,
        "_class_name": "StableDiffusion3Pipeline",
        "transformer": ["diffusers", "SD3Transformer2DModel"],
        "text_encoder": _CLIP,
        "text_encoder_2": _CLIP,
        "text_encoder_3": _T5["encoder"],
        "tokenizer_2": _TOKENIZER,
        "tokenizer_3": _T5["tokenizer"],
    },
}
_FLUX: dict[str, Any] = {
    "family": "flux",
    "run_diffusers": _flux_by_diffusers,
    "run_comfy": _flux_by_comfy,
    "sizes": {"hidden_size": 32, "num_heads": 2, "context_in_dim": 48, "axes_dim": [4, 4, 8]},
    "index": {
        **_COMMON,
        "_class_name": "FluxPipeline",
        "transformer": ["diffusers", "FluxTransformer2DModel"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "text_encoder_2": _T5["encoder"],
        "tokenizer_2": _T5["tokenizer"],
    },
}
TRANSFORMERS = (
    Example("SD3", make=_sd3, **_SD3),
    Example(
        "SD3.5 medium",
        make=lambda: _sd3(qk_norm="rms_norm", dual_attention_layers=(0,)),
        **_SD3,
    ),
    Example("FLUX.1-dev", make=lambda: _flux(True), **_FLUX),
    Example("FLUX.1-schnell", make=lambda: _flux(False), **_FLUX),
)


def sd3_autoencoder() -> AutoencoderKL:
    """One of SD3's size, the only one that ComfyUI builds, with random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(128, 256, 512, 512),
            layers_per_block=2,
            latent_channels=16,
            use_quant_conv=False,
            use_post_quant_conv=False,
        ).eval()


def write_model(folder: Path, example: Example, vae: AutoencoderKL | None = None) -> Path:
    """The transformer, and an autoencoder if one is given, in a folder of diffusers' layout."""
    example.build().save_pretrained(folder / "transformer")
    if vae is not None:
        vae.save_pretrained(folder / "vae")
    (folder / "model_index.json").write_text(json.dumps(example.index))
    return folder
