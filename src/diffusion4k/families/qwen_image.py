"""Qwen-Image (Alibaba, arXiv 2508.02324), and all models of its layout.

- Text: Qwen2.5-VL's last hidden states of the prompt behind an instruction, whose 34 tokens are cut
  off; at most 512 tokens and a mask. The stock pipeline pads prompts to the longest of a batch; in
  the contract they are padded to one length.
- Latents: of an autoencoder of videos (F=8, 16 channels) at one frame; each channel is shifted and
  scaled by numbers in its configuration. They are packed as FLUX.1's: a token is 16x16 pixels.
- Prediction: the transformer gives the velocity `noise - latents` itself, at `sigma`.
- Guidance: classifier-free, after which each token of the prediction gets the norm that it had with
  the prompt alone, by the stock pipeline. The empty prompt is a blank, as its makers advise.
- Positions are counted from the middle of the picture; text follows behind the longer half.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from diffusion4k.errors import Diffusion4kError
from diffusion4k.families.autoencoder_kl import PosteriorFamily
from diffusion4k.families.base import NO_LIMIT, AfterStep, Checkpoint, Defaults, Family
from diffusion4k.families.calls import meta_tensor
from diffusion4k.families.packing import packed, unpacked
from diffusion4k.families.spatial import NoiseLevel, SpatialCall, of_samples
from diffusion4k.models.folder import transformer_config

__all__ = ["QwenImage"]

_VARIANTS = ("guidance_embeds", "zero_cond_t", "use_additional_t_cond", "use_layer3d_rope")


class QwenImage(PosteriorFamily):
    """Family of `QwenImagePipeline` folders; see `families.base.Family`."""

    name = "qwen-image"
    pipeline_class = "QwenImagePipeline"
    guides_in_turn = True
    components: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "transformer": ("diffusers.QwenImageTransformer2DModel",),
        "vae": ("diffusers.AutoencoderKLQwenImage",),
        "text_encoder": ("transformers.Qwen2_5_VLForConditionalGeneration",),
        "tokenizer": ("transformers.Qwen2Tokenizer",),
    }
    relatives: ClassVar[Mapping[str, str]] = {
        "QwenImageEditPipeline": "edits a picture that it is given",
        "QwenImageEditPlusPipeline": "edits pictures that it is given, several at a time",
        "QwenImageLayeredPipeline": "splits a picture that it is given into layers",
    }
    checkpoints = (
        Checkpoint("Qwen/Qwen-Image", "Apache-2.0"),
        Checkpoint("Qwen/Qwen-Image-2512", "Apache-2.0"),
    )
    factors: ClassVar[tuple[int, ...]] = (8,)
    factor_note = "a token of theirs is 16x16 pixels already, without a partition"
    channels_key = "z_dim"
    # Both streams have an MLP named so.
    lora_targets = (
        *Family.lora_targets,
        *(f"{stream}_mlp.net.{layer}" for stream in ("img", "txt") for layer in ("0.proj", "2")),
    )
    image_to_image_class = "QwenImageImg2ImgPipeline"

    def check(self, model: Path) -> None:
        """Also check that its transformer is not that of a variant which edits pictures."""
        super().check(model)
        config = transformer_config(model)
        for key in _VARIANTS:
            if config.get(key):
                raise Diffusion4kError(
                    f"{model / 'transformer' / 'config.json'}: {key} is {config[key]}: it is a "
                    f"variant that edits pictures or was distilled, and {self.name} models make "
                    "them from text alone: take Qwen/Qwen-Image"
                )

    def defaults_for(self, transformer: dict[str, Any], scheduler: dict[str, Any]) -> Defaults:
        """50 steps at guidance 4.0; 2048x2048, 128 tokens a side."""
        return Defaults(50, 4.0, width=self.default_side, height=self.default_side)

    def max_side(self, model: Path) -> int:
        """Its table of rotary positions ends far beyond."""
        return NO_LIMIT

    def max_sequence_length(self, model: Path) -> int:
        """Qwen's tokens behind the instruction, as in the stock pipeline."""
        return 512

    def shift_and_scale(self, autoencoder: Any, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and inverse deviation of each channel, `(1, C, 1, 1)`."""
        config = autoencoder.config
        mean, deviation = (
            torch.tensor(values, device=latents.device).view(1, -1, 1, 1)
            for values in (config.latents_mean, config.latents_std)
        )
        return mean.to(latents.dtype), (1.0 / deviation).to(latents.dtype)

    def posterior(self, autoencoder: Any, images: Tensor) -> Any:
        """Of a video of one frame, whose axis is left out."""
        from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

        found = autoencoder.encode(images.unsqueeze(2)).latent_dist
        return DiagonalGaussianDistribution(found.parameters.squeeze(2))

    def decode_latents(self, autoencoder: Any, latents: Tensor) -> Tensor:
        latents = self.denormalised(autoencoder, latents)
        return autoencoder.decode(latents.unsqueeze(2)).sample.squeeze(2)

    @torch.no_grad()
    def encode_text(
        self, text_encoders: Any, captions: list[str], *, negative: bool = False
    ) -> dict[str, Tensor]:
        """Stock `encode_prompt`, padded: `prompt_embeds (B, 512, D)` and `prompt_embeds_mask`."""
        length, device = text_encoders.max_sequence_length, text_encoders.text_encoder.device
        texts = [caption or " " for caption in captions]
        embeds, mask = text_encoders.encode_prompt(texts, device, max_sequence_length=length)
        if mask is None:  # the stock pipeline's word for all of them
            mask = torch.ones(embeds.shape[:2], dtype=torch.int64, device=embeds.device)
        behind = length - embeds.shape[1]
        return {
            "prompt_embeds": nn.functional.pad(embeds, (0, 0, 0, behind)),
            "prompt_embeds_mask": nn.functional.pad(mask, (0, behind)),
        }

    def empty_conditioning(self, model: Path, captions: int) -> dict[str, Tensor]:
        shape = captions, self.text_tokens(model)
        width = transformer_config(model)["joint_attention_dim"]
        return {
            "prompt_embeds": meta_tensor(*shape, width),
            "prompt_embeds_mask": meta_tensor(*shape, dtype=torch.int64),
        }

    def unseen_layers(self, transformer: Any) -> list[str]:
        """Those of the last block that work on the text alone."""
        last = f"transformer_blocks.{len(transformer.transformer_blocks) - 1}"
        return [f"{last}.attn.to_add_out", f"{last}.txt_mlp"]

    def velocity(
        self, transformer: nn.Module, noisy: Tensor, sigma: Tensor, conditioning: dict[str, Tensor]
    ) -> Tensor:
        predicted = transformer(
            hidden_states=packed(noisy),
            timestep=sigma,
            encoder_hidden_states=conditioning["prompt_embeds"].to(noisy),
            encoder_hidden_states_mask=conditioning["prompt_embeds_mask"],
            img_shapes=_shapes(noisy),
            return_dict=False,
        )[0]
        return unpacked(predicted, *noisy.shape[-2:])

    def call_arguments(
        self,
        conditioning: dict[str, Tensor],
        *,
        guidance: float,
        negative: dict[str, Tensor] | None = None,
        after_step: AfterStep | None = None,
    ) -> dict[str, Any]:
        """Arguments as in all families, without padding; guidance is the `true_cfg_scale`."""
        arguments = super().call_arguments(
            _trimmed(conditioning),
            guidance=guidance,
            negative=_trimmed(negative) if negative else None,
            after_step=after_step,
        )
        arguments["true_cfg_scale"] = arguments.pop("guidance_scale")
        return arguments

    def spatial_latents(self, latents: Tensor, autoencoder: Any, width: int, height: int) -> Tensor:
        """Packed latents `(B, tokens, 4C)` as `(B, C, height/F, width/F)`."""
        return unpacked(latents, height // self.factor, width // self.factor)

    def pipeline_latents(self, latents: Tensor) -> Tensor:
        """Packed, `(B, tokens, 4C)`."""
        return packed(latents)

    def spatial_call(
        self, transformer: Any, arguments: dict[str, Any], rows: int, columns: int
    ) -> SpatialCall:
        """Packed latents, sigma itself as timestep, and the shape of each picture."""
        latents = unpacked(arguments.pop("hidden_states"), rows, columns)
        arguments |= {"img_shapes": None, "return_dict": False}

        def predict(pictures: Tensor, samples: Tensor) -> Tensor:
            given = of_samples(arguments, samples) | {"img_shapes": _shapes(pictures)}
            found = transformer(hidden_states=packed(pictures), **given)[0]
            return unpacked(found, *pictures.shape[-2:])

        return SpatialCall(latents, NoiseLevel.flow(arguments["timestep"]), predict, packed)


def _shapes(latents: Tensor) -> list[list[tuple[int, int, int]]]:
    """Frames, rows and columns of tokens of each picture."""
    rows, columns = (side // 2 for side in latents.shape[-2:])
    return [[(1, rows, columns)]] * len(latents)


def _trimmed(conditioning: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without what is padding in every prompt."""
    tokens = int(conditioning["prompt_embeds_mask"].sum(dim=1).max())
    return {name: tensor[:, :tokens] for name, tensor in conditioning.items()}
