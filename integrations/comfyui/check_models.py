"""Tiny transformers that both diffusers and ComfyUI can build, and one input for each."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
)
from torch import Tensor, nn

from benchmarks.tiny import tiny_autoencoder, tiny_sd3, tiny_tokenizer
from tests.families.parts import tiny_clip_text, tiny_flux_transformer, tiny_t5

__all__ = ["TRANSFORMERS", "Example", "sd3_autoencoder", "write_model"]

_SIDE = 12  # latents a side
_TOKENS = 7


@dataclass(frozen=True)
class Example:
    """A transformer, and how either program runs it once on the same latents and embeddings.

    Attributes:
        family: diffusion4k's name of it.
        make: it with random weights.
        save: a whole tiny model, with another transformer, to a folder.
        run_diffusers: its output `(1, 16, h, w)` by diffusers' class.
        run_comfy: the same by ComfyUI's.
        sizes: what ComfyUI does not read from a file.
    """

    name: str
    family: str
    make: Callable[[], nn.Module]
    save: Callable[[Path], Any]
    run_diffusers: Callable[[Any], Tensor]
    run_comfy: Callable[[Any], Tensor]
    sizes: Mapping[str, Any] = field(default_factory=dict)

    def build(self, dtype: str | None = None) -> nn.Module:
        """The same weights each time, none of them zero, rounded as `export --dtype` does."""
        with torch.random.fork_rng():
            torch.manual_seed(0)
            made = self.make().eval()
            for parameter in made.parameters():
                if not parameter.any():
                    nn.init.normal_(parameter, std=0.02)
        for name, weight in made.state_dict().items() if dtype else ():
            is_layer = name.endswith(".weight") and weight.ndim > 1
            low = torch.float8_e4m3fn if dtype == "fp8" and is_layer else torch.bfloat16
            weight.copy_(weight.to(low))
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


def _save_flux(folder: Path) -> None:
    tokenizer, (tokenizer_2, text_encoder_2) = tiny_tokenizer(), tiny_t5()
    FluxPipeline(
        transformer=tiny_flux_transformer(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=tiny_autoencoder(),
        text_encoder=tiny_clip_text(tokenizer),
        tokenizer=tokenizer,
        text_encoder_2=text_encoder_2,
        tokenizer_2=tokenizer_2,
    ).save_pretrained(folder)


_SD3: dict[str, Any] = {
    "family": "sd3",
    "save": tiny_sd3,
    "run_diffusers": _sd3_by_diffusers,
    "run_comfy": _sd3_by_comfy,
}
_FLUX: dict[str, Any] = {
    "family": "flux",
    "save": _save_flux,
    "run_diffusers": _flux_by_diffusers,
    "run_comfy": _flux_by_comfy,
    "sizes": {"hidden_size": 32, "num_heads": 2, "context_in_dim": 48, "axes_dim": [4, 4, 8]},
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
    """A whole model in diffusers' layout with the transformer and, if given, the autoencoder."""
    example.save(folder)
    for part, network in (("transformer", example.build()), ("vae", vae)):
        if network is not None:
            shutil.rmtree(folder / part)
            network.save_pretrained(folder / part)
    return folder
