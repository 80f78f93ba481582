"""The student of scale-consistent training: its starts, its files, stock pipelines, lean passes."""

import copy
import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DiffusionPipeline, StableDiffusion3Pipeline

import diffusion4k
from benchmarks.tiny import tiny_autoencoder, tiny_sd3
from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.vae import (
    PartitionedAutoencoderKL,
    ScaleConsistentAutoencoderKL,
    lean_decode,
    lean_encode,
    load_autoencoder,
    load_stock_autoencoder,
)
from diffusion4k.vae.scale_consistent import PixelShuffleConv2d


def _teacher(**changes: object) -> AutoencoderKL:
    torch.manual_seed(0)
    config = {
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "block_out_channels": (4, 8, 8, 12),
        "norm_num_groups": 4,
        "latent_channels": 6,
        "sample_size": 64,
        "use_quant_conv": True,
        "use_post_quant_conv": True,
    }
    return AutoencoderKL(**config | changes).eval()


def _moved(student: ScaleConsistentAutoencoderKL) -> ScaleConsistentAutoencoderKL:
    """As after training: no weight is where it started."""
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return student


@pytest.mark.parametrize(("rows", "columns"), [(16, 16), (48, 32)])
def test_average_start_is_the_averaged_stock_convolution(rows: int, columns: int) -> None:
    teacher = _teacher()
    student = ScaleConsistentAutoencoderKL.from_autoencoder(teacher, start="average")
    images = torch.randn(2, 3, rows, columns)
    with torch.no_grad():
        expected = F.avg_pool2d(teacher.encoder.conv_in(images), 2)
        found = student.encoder.conv_in(images)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_stride_start_is_the_partitioned_autoencoder() -> None:
    teacher = _teacher()
    student = ScaleConsistentAutoencoderKL.from_autoencoder(teacher, start="stride")
    partitioned = PartitionedAutoencoderKL.from_autoencoder(teacher)
    images = torch.rand(1, 3, 48, 64) * 2 - 1
    with torch.no_grad():
        expected, found = partitioned(images).sample, student(images).sample
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_decoder_starts_as_that_of_the_partitioned_autoencoder() -> None:
    teacher = _teacher()
    student = ScaleConsistentAutoencoderKL.from_autoencoder(teacher)
    partitioned = PartitionedAutoencoderKL.from_autoencoder(teacher)
    latents = torch.randn(2, 6, 3, 5)
    with torch.no_grad():
        expected = partitioned.decode(latents).sample
        found = student.decode(latents).sample
    assert found.shape == (2, 3, 48, 80)
    assert (found - expected).abs().max() <= 1e-5 * max(1, expected.abs().max())


def test_phases_of_the_last_convolution_learn_freely() -> None:
    head = PixelShuffleConv2d(2, 3)
    torch.nn.init.zeros_(head.weight)
    with torch.no_grad():
        head.bias.copy_(torch.arange(12.0))
    image = head(torch.zeros(1, 2, 2, 2))
    assert image.shape == (1, 3, 4, 4)
    # Channel o, row phase r, column phase s has number 4 o + 2 r + s.
    assert image[0, 1, 1, 2] == 4 + 2 and image[0, 2, 2, 3] == 8 + 1


def test_weights_are_copies_and_all_learn() -> None:
    teacher = _teacher()
    before = copy.deepcopy(teacher.state_dict())
    student = ScaleConsistentAutoencoderKL.from_autoencoder(teacher).train()
    student.enable_gradient_checkpointing()
    images = torch.rand(1, 3, 32, 32)
    (student(images, sample_posterior=True).sample - images).square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in student.parameters())
    _moved(student)
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    changed = {n for n, v in student.state_dict().items() if v.shape != before[n].shape}
    assert changed == {
        "encoder.conv_in.weight",
        "decoder.conv_out.weight",
        "decoder.conv_out.bias",
    }


def test_round_trip_and_five_levels(tmp_path: Path) -> None:
    student = _moved(ScaleConsistentAutoencoderKL.from_autoencoder(_teacher()))
    assert student.config.block_out_channels == (4, 4, 8, 8, 12)
    student.save_pretrained(tmp_path)
    images = torch.rand(1, 3, 32, 48)
    with torch.no_grad():
        expected = student(images).sample
        for again in (
            ScaleConsistentAutoencoderKL.from_pretrained(tmp_path),
            load_autoencoder(tmp_path),
        ):
            assert type(again) is ScaleConsistentAutoencoderKL
            torch.testing.assert_close(again(images).sample, expected, rtol=0, atol=1e-6)


def test_inside_a_stock_pipeline(tmp_path: Path) -> None:
    pipeline = StableDiffusion3Pipeline.from_pretrained(
        tiny_sd3(tmp_path / "stock"), text_encoder_3=None, tokenizer_3=None
    )
    pipeline.vae = _moved(ScaleConsistentAutoencoderKL.from_autoencoder(tiny_autoencoder()))
    pipeline.save_pretrained(tmp_path / "ours")
    index = json.loads((tmp_path / "ours/model_index.json").read_text())
    assert index["vae"] == ["diffusion4k", "ScaleConsistentAutoencoderKL"]
    again = DiffusionPipeline.from_pretrained(
        tmp_path / "ours", text_encoder_3=None, tokenizer_3=None
    )
    assert again.vae_scale_factor == 16
    assert type(again.vae) is diffusion4k.ScaleConsistentAutoencoderKL
    image = again("a cat", width=96, height=64, num_inference_steps=1).images[0]
    assert image.size == (96, 64)


@pytest.mark.parametrize("memory", [None, 600_000])
@pytest.mark.parametrize("attention", [False, True])
def test_lean_passes_equal_the_plain_ones(attention: bool, memory: int | None) -> None:
    teacher = _teacher(mid_block_add_attention=attention)
    student = _moved(ScaleConsistentAutoencoderKL.from_autoencoder(teacher))
    images, latents = torch.rand(2, 3, 80, 112), torch.randn(2, 6, 5, 7)
    with torch.no_grad():
        expected = student.encode(images).latent_dist.parameters
        found = lean_encode(student, images, memory).parameters
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
        decoded = student.decode(latents).sample
        torch.testing.assert_close(
            lean_decode(student, latents, memory), decoded, rtol=1e-4, atol=1e-4
        )


def test_tiling_covers_the_image() -> None:
    student = ScaleConsistentAutoencoderKL.from_autoencoder(_teacher())
    student.enable_tiling()
    images = torch.rand(1, 3, 96, 160)
    with torch.no_grad():
        assert student(images).sample.shape == images.shape


def test_refuses_other_teachers_and_starts(tmp_path: Path) -> None:
    student = ScaleConsistentAutoencoderKL.from_autoencoder(_teacher())
    with pytest.raises(Diffusion4kError, match="only a stock diffusers AutoencoderKL"):
        ScaleConsistentAutoencoderKL.from_autoencoder(student)
    with pytest.raises(UsageError, match="'middle', allowed average or stride"):
        ScaleConsistentAutoencoderKL.from_autoencoder(_teacher(), start="middle")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="cannot go back to F=8"):
        student.to_autoencoder()
    student.save_pretrained(tmp_path)
    with pytest.raises(Diffusion4kError, match="does not hold an F=8 autoencoder; supported"):
        load_stock_autoencoder(tmp_path)


@pytest.mark.parametrize("kind", ["stock", "partitioned"])
def test_the_stock_autoencoder_of_a_folder(kind: str, tmp_path: Path) -> None:
    teacher = _teacher(scaling_factor=1.5, shift_factor=0.06)
    saved = teacher if kind == "stock" else PartitionedAutoencoderKL.from_autoencoder(teacher)
    saved.save_pretrained(tmp_path)
    again = load_stock_autoencoder(tmp_path)
    assert type(again) is AutoencoderKL
    assert tuple(again.config.block_out_channels) == (4, 8, 8, 12)
    assert (again.config.scaling_factor, again.config.shift_factor) == (1.5, 0.06)
    images = torch.rand(1, 3, 16, 24)
    with torch.no_grad():
        torch.testing.assert_close(again(images).sample, teacher(images).sample)


def test_there_and_back_shares_the_weights() -> None:
    teacher = _teacher()
    back = PartitionedAutoencoderKL.from_autoencoder(teacher).to_autoencoder()
    assert back.config.block_out_channels == (4, 8, 8, 12) and not back.training
    assert all(
        back.state_dict()[name].data_ptr() == value.data_ptr()
        for name, value in teacher.state_dict().items()
    )
