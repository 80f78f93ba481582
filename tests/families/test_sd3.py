"""The Stable Diffusion 3 family against the stock diffusers pipeline."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, SD3Transformer2DModel, StableDiffusion3Pipeline
from transformers import T5Config, T5EncoderModel, T5TokenizerFast

from diffusion4k.errors import Diffusion4kError
from diffusion4k.families.sd3 import StableDiffusion3

FAMILY = StableDiffusion3()
CAPTIONS = ["a red cat", "a mountain lake at dawn, seen from far above " * 4]


def _stock(model: Path) -> StableDiffusion3Pipeline:
    return StableDiffusion3Pipeline.from_pretrained(model, text_encoder_3=None, tokenizer_3=None)


def test_text_is_encoded_as_by_the_stock_pipeline(tiny_model: Path) -> None:
    encoders = FAMILY.load_text_encoders(tiny_model, dtype=torch.float32)
    ours = FAMILY.encode_text(encoders, CAPTIONS)
    with torch.no_grad():
        embeds, _, pooled, _ = _stock(tiny_model).encode_prompt(
            CAPTIONS, None, None, do_classifier_free_guidance=False
        )
    assert torch.equal(ours["prompt_embeds"], embeds)
    assert torch.equal(ours["pooled_prompt_embeds"], pooled)
    assert embeds.shape == (2, 77 + 256, 64)


def test_text_is_encoded_with_t5_where_there_is_one(tiny_model: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    _add_t5(model)
    encoders = FAMILY.load_text_encoders(model, dtype=torch.float32)
    ours = FAMILY.encode_text(encoders, CAPTIONS[:1])
    stock = StableDiffusion3Pipeline.from_pretrained(model)
    with torch.no_grad():
        embeds, _, pooled, _ = stock.encode_prompt(
            CAPTIONS[:1], None, None, do_classifier_free_guidance=False
        )
    assert torch.equal(ours["prompt_embeds"], embeds)
    assert torch.equal(ours["pooled_prompt_embeds"], pooled)
    assert embeds[:, 77:].any()


def test_a_tokenizer_without_its_maximum_stops_at_77(tiny_model: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    for name in ("tokenizer", "tokenizer_2"):
        path = model / name / "tokenizer_config.json"
        config = json.loads(path.read_text())
        del config["model_max_length"]
        path.write_text(json.dumps(config))
    encoders = FAMILY.load_text_encoders(model, dtype=torch.float32)
    assert FAMILY.encode_text(encoders, CAPTIONS)["prompt_embeds"].shape[1] == 77 + 256


def test_latents_are_shifted_and_scaled_and_back(tiny_model: Path) -> None:
    autoencoder = FAMILY.load_autoencoder(tiny_model, dtype=torch.float32)
    images = torch.rand(1, 3, 64, 96) * 2 - 1
    with torch.no_grad():
        latents = FAMILY.encode_images(autoencoder, images)
        plain = autoencoder.encode(images).latent_dist.mode()
        decoded = FAMILY.decode_latents(autoencoder, latents)
        torch.testing.assert_close(decoded, autoencoder.decode(plain).sample)
    assert latents.shape == (1, 16, 4, 6)
    assert decoded.shape == images.shape
    torch.testing.assert_close(latents, (plain - 0.0609) * 1.5305)


def test_an_autoencoder_without_shift_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    autoencoder = AutoencoderKL.from_pretrained(model / "vae")
    autoencoder.register_to_config(shift_factor=None)
    autoencoder.save_pretrained(model / "vae")
    with pytest.raises(Diffusion4kError, match="shift_factor is missing"):
        FAMILY.load_autoencoder(model, dtype=torch.float32)


def test_velocity_is_the_stock_transformer_s_output(tiny_model: Path) -> None:
    ours = FAMILY.load_transformer(tiny_model, dtype=torch.float32)
    stock = SD3Transformer2DModel.from_pretrained(tiny_model / "transformer")
    noisy, sigma = torch.randn(2, 16, 4, 6), torch.tensor([0.25, 0.9])
    conditioning = {
        "prompt_embeds": torch.randn(2, 12, 64),
        "pooled_prompt_embeds": torch.randn(2, 32),
    }
    with torch.no_grad():
        velocity = FAMILY.velocity(ours, noisy, sigma, conditioning)
        expected = stock(
            hidden_states=noisy,
            timestep=torch.tensor([250.0, 900.0]),
            encoder_hidden_states=conditioning["prompt_embeds"],
            pooled_projections=conditioning["pooled_prompt_embeds"],
        ).sample
    assert torch.equal(velocity, expected)


def test_max_side_is_where_the_position_embeddings_end(tiny_model: Path) -> None:
    assert FAMILY.max_side(tiny_model) == 64 * 2 * 16


def test_the_pipeline_is_stock_at_f16(tiny_model: Path) -> None:
    pipeline = FAMILY.load_pipeline(tiny_model, dtype=torch.float32)
    assert type(pipeline) is StableDiffusion3Pipeline
    assert pipeline.vae_scale_factor == 16
    image = pipeline("a cat", width=96, height=64, num_inference_steps=1).images[0]
    assert image.size == (96, 64)


def _add_t5(model: Path) -> None:
    special = ["<pad>", "</s>", "<unk>", *(f"<extra_id_{i}>" for i in range(100))]
    words = [*special, *(f"\u2581{word}" for word in ("a", "red", "cat"))]
    T5TokenizerFast(vocab=[(word, -1.0) for word in words]).save_pretrained(model / "tokenizer_3")
    torch.manual_seed(0)
    T5EncoderModel(
        T5Config(vocab_size=len(words), d_model=64, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    ).save_pretrained(model / "text_encoder_3")
    path = model / "model_index.json"
    index = json.loads(path.read_text())
    index["text_encoder_3"] = ["transformers", "T5EncoderModel"]
    index["tokenizer_3"] = ["transformers", "T5TokenizerFast"]
    path.write_text(json.dumps(index))
