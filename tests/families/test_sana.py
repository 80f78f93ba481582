"""The Sana family against the stock diffusers pipeline."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderDC,
    DPMSolverMultistepScheduler,
    SanaPipeline,
    SanaTransformer2DModel,
)

from diffusion4k.errors import UsageError
from diffusion4k.families import Defaults, family_of
from diffusion4k.sampling import Request, Sampler
from diffusion4k.training.check import check_recipe
from diffusion4k.training.recipe.recipe import Recipe
from tests.families.contract import FamilyContract
from tests.families.parts import tiny_gemma


def tiny_sana(folder: Path) -> Path:
    """Save a tiny pipeline; its autoencoder has six levels, as F=32 needs."""
    tokenizer, text_encoder = tiny_gemma()
    blocks = ("ResBlock",) * 5 + ("EfficientViTBlock",)
    scales = ((),) * 5 + ((5,),)
    SanaPipeline(
        transformer=SanaTransformer2DModel(
            in_channels=4,
            out_channels=4,
            num_layers=2,
            num_attention_heads=2,
            attention_head_dim=8,
            num_cross_attention_heads=2,
            cross_attention_head_dim=8,
            cross_attention_dim=16,
            caption_channels=32,
            sample_size=32,
        ),
        scheduler=DPMSolverMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
        ),
        vae=AutoencoderDC(
            latent_channels=4,
            attention_head_dim=4,
            encoder_block_types=blocks,
            decoder_block_types=blocks,
            encoder_block_out_channels=(8,) * 6,
            decoder_block_out_channels=(8,) * 6,
            encoder_layers_per_block=(1,) * 6,
            decoder_layers_per_block=(1,) * 6,
            encoder_qkv_multiscales=scales,
            decoder_qkv_multiscales=scales,
            scaling_factor=0.41407,
        ),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
    ).save_pretrained(folder)
    return folder


class TestSana(FamilyContract):
    factor = None
    width, height = 192, 128
    build = staticmethod(tiny_sana)
    stock_options: ClassVar = {"use_resolution_binning": False}
    # Its scheduler names whole timesteps and steps between them: sigma is known to a thousandth,
    # and the clean latents to a thousandth of the velocity.
    guidance_tolerance = 1e-2

    def stock_latents(
        self, vae: Any, image: torch.Tensor, generator: torch.Generator
    ) -> torch.Tensor:
        return vae.encode(image).latent * vae.config.scaling_factor

    def test_latents_are_scaled_and_back(self, model: Path) -> None:
        family = family_of(model)
        autoencoder = family.load_autoencoder(model, dtype=torch.float32)
        images = torch.rand(1, 3, 64, 96) * 2 - 1
        with torch.no_grad():
            latents = family.encode_images(autoencoder, images)
            plain = autoencoder.encode(images).latent
            decoded = family.decode_latents(autoencoder, latents)
            torch.testing.assert_close(decoded, autoencoder.decode(plain).sample)
        assert latents.shape == (1, 4, 2, 3)
        torch.testing.assert_close(latents, plain * 0.41407)

    def test_it_has_no_other_factor(self, model: Path) -> None:
        with pytest.raises(UsageError, match="factor 16: sana models can do 32"):
            Sampler(model, factor=16)

    def test_it_decodes_within_a_limit(self, model: Path) -> None:
        request = Request("a", width=192, height=128, steps=1)
        images = []
        for limit in ("2MiB", None):
            sampler = Sampler(model, max_memory=limit)
            images.append(np.asarray(sampler.sample(sampler.settle(request)), dtype=int))
        assert np.abs(images[0] - images[1]).max() <= 1
        sampler = Sampler(model, max_memory="10KiB")
        with pytest.raises(UsageError, match="allow at least"):
            sampler.sample(sampler.settle(request))

    def test_pictures_are_encoded_within_a_limit(self, model: Path) -> None:
        family = family_of(model)
        autoencoder = family.load_autoencoder(model, dtype=torch.float32)
        images = torch.rand(2, 3, 128, 192) * 2 - 1
        whole = family.encode_images(autoencoder, images)
        found = family.draw_latents(autoencoder, images, torch.Generator(), "2MiB")
        torch.testing.assert_close(found, whole, rtol=1e-4, atol=1e-4)

    def test_the_size_is_that_of_its_training(self, model: Path) -> None:
        expected = Defaults(steps=20, guidance=4.5, width=1024, height=1024)
        assert family_of(model).defaults(model) == expected

    def test_the_wavelet_needs_pairs_of_latents(self, model: Path, tmp_path: Path) -> None:
        keys = {"model": str(model), "data": "pocket", "output": str(tmp_path), "steps": 1}
        recipe = Recipe.model_validate(keys | {"resolution": 96})
        with pytest.raises(UsageError, match="crop: found 96x96, allowed multiples of 64"):
            check_recipe(recipe, family_of(model), model)
        plain = Recipe.model_validate(
            keys | {"resolution": 96, "objective": {"name": "flow-matching"}}
        )
        check_recipe(plain, family_of(model), model)
