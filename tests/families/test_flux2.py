"""The FLUX.2 families, dev and klein, against the stock diffusers pipelines."""

import json
import math
import shutil
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKLFlux2,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Pipeline,
    Flux2Transformer2DModel,
)
from diffusers.pipelines.flux2.pipeline_flux2 import compute_empirical_mu
from torch import Tensor
from transformers import Qwen3ForCausalLM

from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.families import Defaults, family_of
from diffusion4k.sampling import Request, Sampler
from tests.families.contract import FamilyContract
from tests.families.parts import tiny_mistral, tiny_qwen


def tiny_flux2_autoencoder() -> AutoencoderKLFlux2:
    """Four levels of eight channels; running statistics unlike those it begins with."""
    autoencoder = AutoencoderKLFlux2(
        block_out_channels=(8, 8, 8, 8),
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=4,
        sample_size=64,
    ).eval()
    autoencoder.bn.running_mean.normal_(std=0.1)
    autoencoder.bn.running_var.uniform_(0.5, 2.0)
    return autoencoder


def tiny_flux2_transformer(text_width: int, *, embedded: bool) -> Flux2Transformer2DModel:
    """A block of either kind, of width 32."""
    return Flux2Transformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=text_width,
        axes_dims_rope=(4, 4, 4, 4),
        guidance_embeds=embedded,
    ).eval()


def _scheduler() -> FlowMatchEulerDiscreteScheduler:
    return FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift=3.0)


def tiny_flux2(folder: Path) -> Path:
    """Save a tiny dev pipeline; its tokenizer's processor also reads images, which needs more."""
    tokenizer, text_encoder = tiny_mistral()
    Flux2Pipeline(
        transformer=tiny_flux2_transformer(48, embedded=True),
        scheduler=_scheduler(),
        vae=tiny_flux2_autoencoder(),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
    ).save_pretrained(folder)
    return folder


def tiny_klein(folder: Path, *, distilled: bool = False) -> Path:
    """Save a tiny klein pipeline."""
    tokenizer, text_encoder = tiny_qwen(Qwen3ForCausalLM, layers=28)
    Flux2KleinPipeline(
        transformer=tiny_flux2_transformer(96, embedded=False),
        scheduler=_scheduler(),
        vae=tiny_flux2_autoencoder(),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        is_distilled=distilled,
    ).save_pretrained(folder)
    return folder


class _Flux2(FamilyContract):
    factor = None
    embedded_guidance: Tensor | None = None

    def packed(self, stock: Any, latents: Tensor) -> Tensor:
        return stock._patchify_latents(latents)

    def stock_guidance(self, stock: Any, guidance: float, negative: str = "") -> dict[str, Any]:
        found: dict[str, Any] = {"guidance_scale": guidance}
        if negative:  # the stock pipelines take it as embeddings only
            found["negative_prompt_embeds"] = stock.encode_prompt(negative)[0]
        return found

    def set_stock_timesteps(self, scheduler: Any, steps: int) -> None:
        mu = compute_empirical_mu(self.height * self.width // 16**2, steps)
        scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps), mu=mu)

    def stock_latents(self, vae: Any, image: Tensor, generator: torch.Generator) -> Tensor:
        latents = Flux2Pipeline._patchify_latents(vae.encode(image).latent_dist.sample(generator))
        mean, variance = (x.view(1, -1, 1, 1) for x in (vae.bn.running_mean, vae.bn.running_var))
        latents = (latents - mean) / torch.sqrt(variance + vae.config.batch_norm_eps)
        return Flux2Pipeline._unpatchify_latents(latents)

    def stock_prediction(
        self, transformer: Any, latents: Tensor, timestep: Tensor, embeds: Tensor, mask: Any
    ) -> Tensor:
        tokens = Flux2Pipeline._patchify_latents(latents)
        ids = Flux2Pipeline._prepare_latent_ids(tokens)
        predicted = transformer(
            Flux2Pipeline._pack_latents(tokens),
            encoder_hidden_states=embeds,
            timestep=timestep / 1000,
            guidance=self.embedded_guidance,
            img_ids=ids,
            txt_ids=Flux2Pipeline._prepare_text_ids(embeds),
            return_dict=False,
        )[0]
        predicted = Flux2Pipeline._unpack_latents_with_ids(predicted, ids)
        return Flux2Pipeline._unpatchify_latents(predicted)


class TestDev(_Flux2):
    guidances = (4.0, 1.0, 0.0)
    training_options: ClassVar = {"guidance_scale": 3.5}
    build = staticmethod(tiny_flux2)

    def image_to_image_by_hand(self, stock: Any, image: Tensor, **options: Any) -> Tensor:
        self.embedded_guidance = torch.tensor([options.pop("guidance_scale")])
        return super().image_to_image_by_hand(stock, image, **options)

    def stock_result(self, stock: Any, latents: Tensor) -> Tensor:
        return stock._pack_latents(stock._patchify_latents(latents))


class TestKleinBase(_Flux2):
    build = staticmethod(tiny_klein)

    def stock_result(self, stock: Any, latents: Tensor) -> Tensor:
        tokens, bn = stock._patchify_latents(latents), stock.vae.bn
        mean, variance = (x.view(1, -1, 1, 1) for x in (bn.running_mean, bn.running_var))
        tokens = tokens * torch.sqrt(variance + stock.vae.config.batch_norm_eps) + mean
        return stock._unpatchify_latents(tokens)


@pytest.fixture(scope="module")
def klein(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A distilled klein."""
    return tiny_klein(tmp_path_factory.mktemp("klein") / "model", distilled=True)


def test_distilled_klein_is_the_stock_pipeline(klein: Path) -> None:
    family = family_of(klein)
    assert family.guidance_kind(klein) == "none"
    assert family.defaults(klein) == Defaults(4, 0.0, 2048, 2048)
    with pytest.raises(UsageError, match=r"guidance 4: .* takes none"):
        Sampler(klein).settle(Request("a cat", guidance=4.0))
    with pytest.raises(UsageError, match=r"a negative prompt: .* takes none"):
        Sampler(klein).settle(Request("a cat", negative_prompt="b"))
    sampler = Sampler(klein)
    latents = sampler.denoise(sampler.settle(Request("a cat", 5, width=96, height=64)))
    stock = Flux2KleinPipeline.from_pretrained(klein)
    expected = stock(
        prompt="a cat",
        width=96,
        height=64,
        num_inference_steps=4,
        guidance_scale=1.0,
        generator=torch.Generator().manual_seed(5),
        output_type="pt",
    ).images
    with torch.no_grad():
        found = sampler.family.decode_latents(sampler.pipeline.vae, latents) / 2 + 0.5
    torch.testing.assert_close(found.clamp(0, 1), expected, rtol=0, atol=1e-4)


def test_a_base_model_is_guided(tmp_path: Path) -> None:
    base = tiny_klein(tmp_path / "model")
    assert family_of(base).guidance_kind(base) == "classifier-free"
    assert family_of(base).defaults(base) == Defaults(50, 4.0, 2048, 2048)


def test_latents_are_normalised_and_back(klein: Path) -> None:
    family = family_of(klein)
    autoencoder = family.load_autoencoder(klein, dtype=torch.float32)
    images = torch.rand(2, 3, 64, 96) * 2 - 1
    stock = Flux2KleinPipeline.from_pretrained(klein)
    with torch.no_grad():
        latents = family.encode_images(autoencoder, images)
        expected = stock._encode_vae_image(images, None)
        posterior = family.encode_posterior(autoencoder, images)
        plain = autoencoder.decode(autoencoder.encode(images).latent_dist.mode()).sample
        decoded = family.decode_latents(autoencoder, latents)
        strips = torch.cat(list(family.decode_strips(autoencoder, latents[:1], "1M")), 2)
    torch.testing.assert_close(stock._patchify_latents(latents), expected)
    torch.testing.assert_close(posterior[:, :4], latents)
    assert (posterior[:, 4:] > 0).all()
    torch.testing.assert_close(decoded, plain, rtol=0, atol=1e-4)
    torch.testing.assert_close(strips, decoded[:1], rtol=0, atol=1e-4)


def test_the_shift_is_by_tokens_and_steps(klein: Path) -> None:
    family, sampler = family_of(klein), Sampler(klein)
    for steps in (3, 8):
        request = Request("a", width=96, height=64, steps=steps, stages=())
        sampler.denoise(sampler.settle(request))
        sigmas = sampler.pipeline.scheduler.sigmas[1:-1].double()
        plain = torch.linspace(1, 1 / steps, steps, dtype=torch.float64)[1:]
        shift = family.timestep_shift(klein, 6 * 4, steps)
        torch.testing.assert_close(
            sigmas, shift * plain / (1 + (shift - 1) * plain), rtol=1e-5, atol=0
        )
    assert family.timestep_shift(klein, 24) == family.timestep_shift(klein, 24, 4)
    with pytest.raises(UsageError, match=r"4096x4096: .* shifts noise levels by 103,\d+"):
        sampler.settle(Request("a cat", width=4096, height=4096, stages=()))


def test_a_shift_of_ones_own_counts(klein: Path) -> None:
    sampler = Sampler(klein)

    def latents(shift: float | None) -> Tensor:
        size = {"width": 96, "height": 64, "steps": 3, "stages": ()}
        return sampler.denoise(sampler.settle(Request("a", 1, **size, shift=shift)))

    natural = sampler.family.timestep_shift(klein, 6 * 4, 3)
    torch.testing.assert_close(latents(natural), latents(None), rtol=0, atol=1e-5)
    assert not torch.allclose(latents(20.0), latents(None), atol=1e-2)


def test_scaled_positions_count_rows_and_columns_alone(klein: Path) -> None:
    """Up to the training size they are the stock ones, whatever the length of the text."""
    stock = family_of(klein).load_transformer(klein, dtype=torch.float32)
    noisy, sigma = torch.randn(1, 4, 8, 12), torch.tensor([0.6])
    text = {"prompt_embeds": torch.randn(1, 40, 96)}
    found = {}
    for trained in (6, 2):
        options = {"positions": "yarn", "trained_tokens": trained}
        family = family_of(klein, high_resolution=options)
        transformer = family.load_transformer(klein, dtype=torch.float32)
        with torch.no_grad():
            found[trained] = family.velocity(transformer, noisy, sigma, text)
            plain = family.velocity(stock, noisy, sigma, text)
        cosines, _ = transformer.pos_embed(torch.tensor([[0, 0, 0, 3], [0, 0, 0, 4]]))
        gain = 1 + 0.1 * math.log(6 / trained)
        assert cosines.abs().max() == pytest.approx(gain)
    torch.testing.assert_close(found[6], plain, rtol=0, atol=1e-5)
    assert not torch.allclose(found[2], plain, atol=1e-3)


def test_the_factor_is_the_autoencoder_s_own(klein: Path) -> None:
    with pytest.raises(UsageError, match=r"factor 16: flux2-klein models can do 8: a token of"):
        family_of(klein, 16)


def test_a_tokenizer_without_chat_template_is_refused(klein: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(klein, tmp_path / "model"))
    (model / "tokenizer" / "chat_template.jinja").unlink()
    with pytest.raises(Diffusion4kError, match=r"tokenizer: no chat template .*copy it from"):
        family_of(model)


def test_a_missing_text_encoder_is_refused(klein: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(klein, tmp_path / "model"))
    shutil.rmtree(model / "text_encoder")
    with pytest.raises(Diffusion4kError, match="text_encoder: no such folder"):
        family_of(model)
    index = json.loads((model / "model_index.json").read_text())
    index["text_encoder"] = [None, None]
    (model / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(Diffusion4kError, match="names no text_encoder, which flux2-klein models"):
        family_of(model)
