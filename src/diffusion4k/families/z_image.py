"""Z-Image (Tongyi-MAI, arXiv 2511.22699): one stream of text and image tokens.

- Text: Qwen3's second last hidden states of the prompt in its chat template, at most 512 tokens.
  The stock pipeline takes as many rows as a prompt has tokens; in the contract they are padded to
  one length and go with a mask.
- Latents: shifted and scaled, those of FLUX.1's autoencoder.
- Prediction: the transformer runs from noise (0) to image (1) and gives `latents - noise`: the
  contract's velocity is its negative, at `1 - sigma`.
- Guidance: the stock scale g is one less than elsewhere (prediction + g times the difference). It
  is passed on as it is, but off up to 1. The distilled Turbo model needs none.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from diffusion4k.families.autoencoder_kl import AUTOENCODER_KL, AutoencoderKLFamily
from diffusion4k.families.base import AfterStep, Checkpoint, Defaults, Family, meta_tensor
from diffusion4k.families.spatial import NoiseLevel, SpatialCall
from diffusion4k.families.text_components import padded_conditioning
from diffusion4k.models.folder import (
    transformer_config,
)

__all__ = ["ZImage"]


class ZImage(AutoencoderKLFamily):
    """Family of `ZImagePipeline` folders; see `families.base.Family`."""

    name = "z-image"
    pipeline_class = "ZImagePipeline"
    components: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "transformer": ("diffusers.ZImageTransformer2DModel",),
        "vae": AUTOENCODER_KL,
        "text_encoder": ("transformers.Qwen3Model", "Qwen3ForCausalLM"),
        "tokenizer": ("transformers.Qwen2Tokenizer",),
    }
    checkpoints = (
        Checkpoint("Tongyi-MAI/Z-Image-Turbo", "Apache-2.0"),
        Checkpoint("Tongyi-MAI/Z-Image", "Apache-2.0"),
    )
    # Its blocks name their MLP otherwise.
    lora_targets = (*Family.lora_targets, *(f"feed_forward.w{layer}" for layer in (1, 2, 3)))
    chat_template = True
    image_to_image_class = "ZImageImg2ImgPipeline"

    def defaults_for(self, transformer: dict[str, Any], scheduler: dict[str, Any]) -> Defaults:
        """Turbo: 9 steps without guidance; the base model: 50 steps at guidance 4.0.

        4096x4096 at F=16, 2048x2048 at F=8. They differ in nothing but weights and the shift of
        their scheduler, 3 and 6.
        """
        side = self.default_side
        turbo = Defaults(steps=9, guidance=0.0, width=side, height=side)
        base = Defaults(steps=50, guidance=4.0, width=side, height=side)
        return base if scheduler.get("shift") == 6.0 else turbo

    def max_side(self, model: Path) -> int:
        """Longest side in pixels that the table of rotary embeddings reaches."""
        config = transformer_config(model)
        return min(config.get("axes_lens", [1024, 512, 512])[1:]) * self.size_step

    def max_sequence_length(self, model: Path) -> int:
        """Qwen's tokens, as in the stock pipeline."""
        return 512

    @torch.no_grad()
    def encode_text(
        self, text_encoders: Any, captions: list[str], *, negative: bool = False
    ) -> dict[str, Tensor]:
        """Stock `encode_prompt`, padded: `prompt_embeds (B, 512, D)` and `prompt_mask (B, 512)`."""
        length = text_encoders.max_sequence_length
        embeds, _ = text_encoders.encode_prompt(
            list(captions),
            device=text_encoders.text_encoder.device,
            do_classifier_free_guidance=False,
            max_sequence_length=length,
        )
        return padded_conditioning(embeds, length)

    def empty_conditioning(self, model: Path, captions: int) -> dict[str, Tensor]:
        shape = captions, self.text_tokens(model)
        return {
            "prompt_embeds": meta_tensor(*shape, transformer_config(model)["cap_feat_dim"]),
            "prompt_mask": meta_tensor(*shape, dtype=torch.bool),
        }

    def velocity(
        self, transformer: nn.Module, noisy: Tensor, sigma: Tensor, conditioning: dict[str, Tensor]
    ) -> Tensor:
        texts = [rows.to(noisy) for rows in _rows(conditioning)]
        # The third axis is that of a video's frames.
        images = list(noisy.unsqueeze(2))
        predicted = transformer(images, 1 - sigma, texts, return_dict=False)[0]
        return -torch.stack(predicted).squeeze(2)

    prompt_comes_first = True

    def guidance_weight(self, guidance: float) -> float:
        """One more than the stock scale: see above."""
        return 1 + guidance

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
        arguments = super().call_arguments({}, guidance=0.0, after_step=after_step)
        arguments["prompt_embeds"] = _rows(conditioning)
        if negative:
            arguments |= {"guidance_scale": guidance, "negative_prompt_embeds": _rows(negative)}
        return arguments

    def spatial_call(
        self, transformer: Any, arguments: dict[str, Any], rows: int, columns: int
    ) -> SpatialCall:
        """Call it with lists of latents (with an axis for frames) and of texts.

        It is called at 1 - sigma, and gives the velocity's negative.
        """
        latents = torch.stack(arguments.pop("x")).squeeze(2)
        times, texts = arguments.pop("t"), arguments.pop("cap_feats")
        arguments["return_dict"] = False

        def predict(pictures: Tensor, samples: Tensor) -> Tensor:
            chosen = [texts[sample] for sample in samples.tolist()]
            of_pictures = times.index_select(0, samples.to(times.device))
            found = transformer(list(pictures.unsqueeze(2)), of_pictures, chosen, **arguments)[0]
            return torch.stack(found).squeeze(2)

        def output(predicted: Tensor) -> list[Tensor]:
            return list(predicted.unsqueeze(2))

        return SpatialCall(latents, NoiseLevel.flow(1 - times, sign=-1.0), predict, output)


def _rows(conditioning: dict[str, Tensor]) -> list[Tensor]:
    """Embeddings `(tokens, D)` of each prompt's own tokens."""
    pairs = zip(conditioning["prompt_embeds"], conditioning["prompt_mask"], strict=True)
    return [embeds[mask.bool()] for embeds, mask in pairs]
