"""FLUX.1: dev, schnell, Krea dev, and all models of their layout (Black Forest Labs, 2024).

- Text: CLIP's pooled output and T5's hidden states. T5 takes 512 tokens as in the stock pipeline,
  256 where guidance is not embedded (schnell), or what the model's `diffusion4k.json` says.
- Latents: shifted and scaled, then packed: the 2x2 latents of a token stand on its channel axis,
  `(B, C, h, w) -> (B, h/2 w/2, 4C)`. Positions are (0, row, column) of the token, zeros for text.
- Prediction: the transformer gives the velocity `noise - latents` itself, at `sigma`.
- Guidance: dev and Krea are guidance-distilled (Meng et al., arXiv 2210.03142): the scale is an
  input of the network, 3.5 in training and free in sampling. schnell takes none.
- Sampling shifts timesteps by the number of tokens; the stock pipeline does it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from diffusion4k.families.autoencoder_kl import AUTOENCODER_KL, AutoencoderKLFamily
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
from diffusion4k.models.folder import (
    transformer_config,
)
from diffusion4k.models.high_resolution import ROTARY, TRAINED_TOKENS, HighResolution
from diffusion4k.models.positions import replace_rotary

__all__ = ["TRAINING_GUIDANCE", "Flux"]

TRAINING_GUIDANCE = 3.5
_NON_COMMERCIAL = "FLUX.1 [dev] Non-Commercial License"


class Flux(AutoencoderKLFamily):
    """Family of `FluxPipeline` folders; see `families.base.Family`."""

    name = "flux"
    pipeline_class = "FluxPipeline"
    components: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "transformer": ("diffusers.FluxTransformer2DModel",),
        "vae": AUTOENCODER_KL,
        "text_encoder": ("transformers.CLIPTextModel",),
        "text_encoder_2": ("transformers.T5EncoderModel",),
        "tokenizer": ("transformers.CLIPTokenizer",),
        "tokenizer_2": ("transformers.T5TokenizerFast",),
    }
    position_methods: ClassVar[tuple[str, ...]] = ROTARY
    relatives: ClassVar[Mapping[str, str]] = {
        "FluxKontextPipeline": "edits a picture that it is given",
        "FluxFillPipeline": "fills in a part of a picture that it is given",
    }
    checkpoints = (
        Checkpoint("black-forest-labs/FLUX.1-dev", _NON_COMMERCIAL, gated=True),
        Checkpoint("black-forest-labs/FLUX.1-Krea-dev", _NON_COMMERCIAL, gated=True),
        Checkpoint("black-forest-labs/FLUX.1-schnell", "Apache-2.0", gated=True),
        Checkpoint(
            "zhang0jhon/flux_wavelet",
            _NON_COMMERCIAL,
            note="Diffusion-4K's own Flux-12B-WLF: trained at 4096 pixels and F=16",
        ),
        Checkpoint(
            "zhang0jhon/flux_wavelet_v2_sc",
            _NON_COMMERCIAL,
            note="Diffusion-4K's second, with a scale-consistent autoencoder",
            needs="its autoencoder is of its makers' class; `vae train` makes one of ours",
        ),
        Checkpoint(
            "Owen777/UltraFlux-v1",
            _NON_COMMERCIAL,
            defaults=Defaults(steps=50, guidance=4.0, width=4096, height=4096),
            note="UltraFlux: trained at 4096 pixels and F=16, with an autoencoder trained for it",
            needs="its positions (Resonance 2D RoPE) are of its makers' class; "
            "--positions yarn --trained-tokens 64 comes nearest",
        ),
    )
    # The single-stream blocks' MLP as well, which has a name of its own.
    lora_targets = (*Family.lora_targets, "proj_mlp")
    image_to_image_class = "FluxImg2ImgPipeline"

    def defaults_for(self, transformer: dict[str, Any], scheduler: dict[str, Any]) -> Defaults:
        """50 steps at guidance 5.0, or 4 steps without where none is embedded.

        4096x4096 at F=16, and 2048x2048 at F=8: beyond, its schedule is extrapolated to noise
        alone. 5.0 to 5.5 is what Diffusion-4K's reference implementation advises at 4096.
        """
        side = self.default_side
        distilled = Defaults(steps=50, guidance=5.0, width=side, height=side)
        fast = Defaults(steps=4, guidance=0.0, width=side, height=side)
        return distilled if transformer.get("guidance_embeds", False) else fast

    def max_side(self, model: Path) -> int:
        """Rotary embeddings have no end."""
        return NO_LIMIT

    def scale_positions(self, transformer: Any, wanted: HighResolution) -> None:
        """Scale the rotary embedding beyond `high_resolution.trained_tokens` a side."""
        replace_rotary(
            transformer,
            method=str(wanted.positions),
            trained_tokens=wanted.trained_tokens or TRAINED_TOKENS,
            time_dependent=bool(wanted.time_dependent),
        )

    def guidance_kind(self, model: Path) -> GuidanceKind:
        """Embedded in guidance-distilled models, else none."""
        return "embedded" if _embeds_guidance(model) else "none"

    def mag_ratios(self, model: Path) -> list[float] | None:
        """The model's own; else, where guidance is embedded, those that diffusers has for dev."""
        stated = super().mag_ratios(model)
        if stated is None and _embeds_guidance(model):
            from diffusers.hooks.mag_cache import FLUX_MAG_RATIOS

            return [float(ratio) for ratio in FLUX_MAG_RATIOS]
        return stated

    def max_sequence_length(self, model: Path) -> int:
        """T5's tokens: 512, and 256 for schnell, as its model card has it."""
        return 512 if _embeds_guidance(model) else 256

    @torch.no_grad()
    def encode_text(
        self, text_encoders: Any, captions: list[str], *, negative: bool = False
    ) -> dict[str, Tensor]:
        """Stock `encode_prompt`: `prompt_embeds (B, L, D)`, `pooled_prompt_embeds (B, P)`."""
        prompt_embeds, pooled_prompt_embeds, _ = text_encoders.encode_prompt(
            prompt=list(captions),
            device=text_encoders.text_encoder.device,
            max_sequence_length=text_encoders.max_sequence_length,
        )
        return {"prompt_embeds": prompt_embeds, "pooled_prompt_embeds": pooled_prompt_embeds}

    def empty_conditioning(self, model: Path, captions: int) -> dict[str, Tensor]:
        config = transformer_config(model)
        tokens, width = self.text_tokens(model), config["joint_attention_dim"]
        return {
            "prompt_embeds": meta_tensor(captions, tokens, width),
            "pooled_prompt_embeds": meta_tensor(captions, config["pooled_projection_dim"]),
        }

    def velocity(
        self, transformer: nn.Module, noisy: Tensor, sigma: Tensor, conditioning: dict[str, Tensor]
    ) -> Tensor:
        """Predicted `noise - latents` `(B, C, h, w)` at `noisy` and sigma, at guidance 3.5."""
        height, width = noisy.shape[-2:]
        prompt_embeds = conditioning["prompt_embeds"].to(noisy)
        embedded = config_of(transformer).guidance_embeds
        predicted = transformer(
            hidden_states=packed(noisy),
            timestep=sigma,
            guidance=torch.full_like(sigma, TRAINING_GUIDANCE) if embedded else None,
            pooled_projections=conditioning["pooled_prompt_embeds"].to(noisy),
            encoder_hidden_states=prompt_embeds,
            txt_ids=torch.zeros(prompt_embeds.shape[1], 3, device=noisy.device),
            img_ids=token_positions(height // 2, width // 2).to(noisy.device),
            return_dict=False,
        )[0]
        return unpacked(predicted, height, width)

    def spatial_latents(self, latents: Tensor, autoencoder: Any, width: int, height: int) -> Tensor:
        """Packed latents `(B, tokens, 4C)` as `(B, C, height/F, width/F)`."""
        return unpacked(latents, height // self.factor, width // self.factor)

    def pipeline_latents(self, latents: Tensor) -> Tensor:
        """Packed, `(B, tokens, 4C)`."""
        return packed(latents)

    def spatial_call(
        self, transformer: Any, arguments: dict[str, Any], rows: int, columns: int
    ) -> SpatialCall:
        """Packed latents, sigma itself as timestep, and positions that begin in each picture."""
        tokens, text_ids = arguments.pop("hidden_states"), arguments.pop("txt_ids")
        del arguments["img_ids"]
        arguments["return_dict"] = False

        def predict(pictures: Tensor, samples: Tensor) -> Tensor:
            height, width = pictures.shape[-2:]
            found = transformer(
                hidden_states=packed(pictures),
                txt_ids=text_ids,
                img_ids=token_positions(height // 2, width // 2).to(pictures.device),
                **of_samples(arguments, samples),
            )[0]
            return unpacked(found, height, width)

        latents = unpacked(tokens, rows, columns)
        return SpatialCall(latents, NoiseLevel.flow(arguments["timestep"]), predict, packed)


def _embeds_guidance(model: Path) -> bool:
    return bool(transformer_config(model).get("guidance_embeds", False))
