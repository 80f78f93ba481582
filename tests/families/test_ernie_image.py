"""The ERNIE-Image family against the stock diffusers pipeline."""

from pathlib import Path
from typing import Any, ClassVar

import torch
from diffusers import (
    ErnieImagePipeline,
    ErnieImageTransformer2DModel,
    FlowMatchEulerDiscreteScheduler,
)
from torch import Tensor
from transformers import Mistral3Model

from benchmarks.tiny import fill_zeros
from diffusion4k.families import family_of
from tests.families.contract import FamilyContract
from tests.families.parts import tiny_mistral
from tests.families.test_flux2 import tiny_flux2_autoencoder


def tiny_ernie_image(folder: Path) -> Path:
    """Save a tiny pipeline without a prompt enhancer."""
    tokenizer, text_encoder = tiny_mistral(Mistral3Model, layers=2)
    transformer = ErnieImageTransformer2DModel(
        hidden_size=32,
        num_attention_heads=2,
        num_layers=2,
        ffn_hidden_size=32,
        in_channels=16,
        out_channels=16,
        text_in_dim=16,
        rope_axes_dim=(4, 6, 6),
    ).eval()
    fill_zeros(transformer)
    ErnieImagePipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=tiny_flux2_autoencoder(),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
    ).save_pretrained(folder)
    return folder


class TestErnieImage(FamilyContract):
    factor = None
    build = staticmethod(tiny_ernie_image)
    stock_options: ClassVar = {"use_pe": False}
    sigma = 1.0

    def from_sigma(self, sigma: float) -> dict[str, Any]:
        """The stock pipeline takes no schedule: that of one step begins at 1."""
        return {}

    def stock_factor(self, stock: Any) -> int:
        """The stock pipeline counts pixels of a token."""
        return stock.vae_scale_factor // 2

    def packed(self, stock: Any, latents: Tensor) -> Tensor:
        return stock._patchify_latents(latents)

    def stock_latents(self, vae: Any, image: Tensor, generator: torch.Generator) -> Tensor:
        tokens = ErnieImagePipeline._patchify_latents(
            vae.encode(image).latent_dist.sample(generator)
        )
        mean, variance = (x.view(1, -1, 1, 1) for x in (vae.bn.running_mean, vae.bn.running_var))
        return ErnieImagePipeline._unpatchify_latents((tokens - mean) / torch.sqrt(variance + 1e-5))

    def set_stock_timesteps(self, scheduler: Any, steps: int) -> None:
        scheduler.set_timesteps(sigmas=torch.linspace(1.0, 0.0, steps + 1)[:-1])

    def stock_prediction(
        self, transformer: Any, latents: Tensor, timestep: Tensor, embeds: Any, mask: Any
    ) -> Tensor:
        tokens = ErnieImagePipeline._patchify_latents(latents)
        text, lengths = ErnieImagePipeline._pad_text(embeds, "cpu", torch.float32, 16)
        found = transformer(tokens, timestep, text, lengths, return_dict=False)[0]
        return ErnieImagePipeline._unpatchify_latents(found)

    def stock_result(self, stock: Any, latents: Tensor) -> Tensor:
        return stock._patchify_latents(latents)

    def test_texts_of_different_length_share_a_batch(self, model: Path) -> None:
        family = family_of(model)
        encoders = family.load_text_encoders(model, dtype=torch.float32)
        texts = ["a cat", "a red cat on a mat"]
        batch = family.encode_text(encoders, texts)
        for rows, mask, expected in zip(
            *batch.values(), encoders.encode_prompt(texts, "cpu"), strict=True
        ):
            assert torch.equal(rows[mask], expected)
            assert not rows[~mask].any()
