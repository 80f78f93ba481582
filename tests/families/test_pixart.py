"""The PixArt-Sigma family against the stock diffusers pipeline and its schedulers."""

import json
import shutil
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DDPMScheduler,
    DiffusionPipeline,
    DPMSolverMultistepScheduler,
    PixArtSigmaPipeline,
    PixArtTransformer2DModel,
)
from transformers.convert_slow_tokenizer import import_protobuf

from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.families import Defaults, family_of
from diffusion4k.families.pixart import SIZES_4K, PixArtSigma
from diffusion4k.objectives import WaveletFlow
from diffusion4k.sampling import Request, Sampler
from tests.families.contract import FamilyContract
from tests.families.parts import tiny_t5


def tiny_pixart(folder: Path) -> Path:
    """Save a tiny pipeline with learned variance and SDXL's kind of autoencoder."""
    tokenizer, text_encoder = tiny_t5()
    PixArtSigmaPipeline(
        transformer=PixArtTransformer2DModel(
            num_layers=2,
            num_attention_heads=2,
            attention_head_dim=8,
            cross_attention_dim=16,
            caption_channels=64,
            in_channels=4,
            out_channels=8,
            sample_size=32,
            use_additional_conditions=False,
        ),
        scheduler=DPMSolverMultistepScheduler(),
        vae=AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(8, 8, 8, 8),
            norm_num_groups=4,
            latent_channels=4,
            sample_size=64,
            scaling_factor=0.13025,
        ),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
    ).save_pretrained(folder)
    return folder


class TestSigma(FamilyContract):
    build = staticmethod(tiny_pixart)
    stock_options: ClassVar = {"use_resolution_binning": False}

    def test_velocity_is_the_stock_pipeline_s(self, model: Path) -> None:
        """At each timestep: the clean latents are those that diffusers' DDPM estimates."""
        family = family_of(model)
        transformer = family.load_transformer(model, dtype=torch.float32)
        conditioning = self.conditioning(model)
        scheduler = DDPMScheduler(clip_sample=False)
        clean, noise = torch.randn(2, 1, 4, 4, 6)
        for timestep in (0, 1, 250, 640, 999):
            t = torch.tensor([timestep])
            noisy = scheduler.add_noise(clean, noise, t)
            with torch.no_grad():
                predicted = transformer(
                    noisy,
                    encoder_hidden_states=conditioning["prompt_embeds"],
                    encoder_attention_mask=conditioning["prompt_attention_mask"],
                    timestep=t,
                ).sample[:, :4]
                estimated = scheduler.step(predicted, timestep, noisy).pred_original_sample
                signal = scheduler.alphas_cumprod[timestep].sqrt()
                rest = (1 - scheduler.alphas_cumprod[timestep]).sqrt()
                sigma = (rest / (signal + rest)).reshape(1)
                z = (1 - sigma) * clean + sigma * noise
                velocity = family.velocity(transformer, z, sigma, conditioning)
            scale = velocity.abs().max()
            assert (velocity - (predicted - estimated)).abs().max() < 1e-3 * scale
            # The estimate of the clean latents that the wavelet objective looks at.
            residual = z - sigma * velocity - clean
            loss = WaveletFlow(space="latents")(velocity, latents=clean, noise=noise, sigma=sigma)
            assert loss.item() == pytest.approx(residual.square().mean().item(), rel=1e-3)
            torch.testing.assert_close(
                z - sigma * velocity, estimated, rtol=1e-3, atol=1e-3 * estimated.abs().max().item()
            )

    def test_noise_levels_beyond_the_schedule_are_finite(self, model: Path) -> None:
        family = family_of(model)
        transformer = family.load_transformer(model, dtype=torch.float32)
        for sigma in (0.0, 1e-6, 1 - 1e-6, 1.0):
            velocity = family.velocity(
                transformer,
                torch.randn(1, 4, 4, 4),
                torch.tensor([sigma]),
                self.conditioning(model),
            )
            assert velocity.isfinite().all()
            assert velocity.abs().max() < 1e4

    def test_sizes(self, model: Path) -> None:
        f16, f8 = family_of(model), family_of(model, 8)
        assert f16.defaults(model) == Defaults(steps=20, guidance=4.5, width=3840, height=2112)
        assert f8.defaults(model) == Defaults(steps=20, guidance=4.5, width=3840, height=2160)
        Sampler(model, factor=8).settle(Request("a", width=3840, height=2160))
        with pytest.raises(UsageError, match="height 2160: not a multiple of 32"):
            Sampler(model).settle(Request("a", width=3840, height=2160))

    def test_another_noise_schedule_is_refused(self, tmp_path: Path) -> None:
        model = tiny_pixart(tmp_path / "model")
        path = model / "scheduler" / "scheduler_config.json"
        config = json.loads(path.read_text()) | {"beta_schedule": "scaled_linear"}
        path.write_text(json.dumps(config))
        with pytest.raises(Diffusion4kError, match=r"beta_schedule is 'scaled_linear'; .*'linear'"):
            family_of(model)


def test_published_folders_name_the_class_it_was_split_from(tmp_path: Path) -> None:
    model = tiny_pixart(tmp_path / "model")
    index = json.loads((model / "model_index.json").read_text())
    index["transformer"] = ["diffusers", "Transformer2DModel"]
    (model / "model_index.json").write_text(json.dumps(index))
    path = model / "transformer" / "config.json"
    config = json.loads(path.read_text()) | {"_class_name": "Transformer2DModel"}
    path.write_text(json.dumps(config | {"only_cross_attention": False, "num_vector_embeds": None}))
    found = family_of(model).load_transformer(model, dtype=torch.float32)
    assert type(found) is PixArtTransformer2DModel
    assert type(DiffusionPipeline.from_pretrained(model).transformer) is PixArtTransformer2DModel


def test_published_folders_have_a_sentencepiece_tokenizer(tmp_path: Path) -> None:
    model = tiny_pixart(tmp_path / "model")
    family = family_of(model)
    expected = family.encode_text(
        family.load_text_encoders(model, dtype=torch.float32), ["a red cat"]
    )
    pieces = import_protobuf().ModelProto()
    pieces.trainer_spec.model_type, pieces.trainer_spec.unk_id = 1, 2
    pieces.normalizer_spec.name = "identity"
    vocabulary = json.loads((model / "tokenizer" / "tokenizer.json").read_text())["model"]["vocab"]
    for number, (word, score) in enumerate(vocabulary):
        piece = pieces.pieces.add()
        piece.piece, piece.score, piece.type = word, score, (3, 3, 2)[number] if number < 3 else 1
    shutil.rmtree(model / "tokenizer")
    (model / "tokenizer").mkdir()
    (model / "tokenizer" / "spiece.model").write_bytes(pieces.SerializeToString())
    settings = {"tokenizer_class": "T5Tokenizer", "model_max_length": 300}
    (model / "tokenizer" / "tokenizer_config.json").write_text(json.dumps(settings))
    found = family.encode_text(family.load_text_encoders(model, dtype=torch.float32), ["a red cat"])
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_the_4k_table() -> None:
    assert len(set(SIZES_4K)) == len(SIZES_4K)
    step = PixArtSigma().size_step
    for width, height in SIZES_4K:
        assert width % step == height % step == 0
        assert (height, width) in SIZES_4K
        assert 0.87 < width * height / (3840 * 2160) < 1.01
