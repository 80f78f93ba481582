import copy
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL
from hypothesis import given, settings
from hypothesis import strategies as st

import diffusion4k
from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.vae import PartitionedAutoencoderKL, load_autoencoder
from tests.vae.reference import unfolded


def _stock(**changes: Any) -> AutoencoderKL:
    torch.manual_seed(0)
    config: dict[str, Any] = {
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "block_out_channels": (4, 8, 8, 12),
        "norm_num_groups": 4,
        "latent_channels": 6,
        "sample_size": 64,
        "scaling_factor": 1.5,
        "shift_factor": 0.06,
        "use_quant_conv": False,
        "use_post_quant_conv": False,
    }
    return AutoencoderKL(**config | changes).eval()


VARIANTS: list[dict[str, Any]] = [
    {},
    {"use_quant_conv": True, "use_post_quant_conv": True},
    {"mid_block_add_attention": False, "layers_per_block": 2},
]


@pytest.mark.parametrize("changes", VARIANTS)
@settings(max_examples=4)
@given(batch=st.integers(1, 2), rows=st.integers(1, 5), columns=st.integers(1, 5))
def test_equals_the_unfolded_reference(
    changes: dict[str, Any], batch: int, rows: int, columns: int
) -> None:
    stock = _stock(**changes)
    ours, reference = PartitionedAutoencoderKL.from_autoencoder(stock), unfolded(stock)
    images = torch.rand(batch, 3, 16 * rows, 16 * columns) * 2 - 1
    with torch.no_grad():
        found = ours.encode(images).latent_dist
        expected = reference.encode(images).latent_dist
        assert found.mean.shape == (batch, 6, rows, columns)
        torch.testing.assert_close(found.parameters, expected.parameters, rtol=0, atol=1e-6)
        decoded = ours.decode(found.mean).sample
        truth = reference.decode(found.mean).sample
    assert decoded.shape == images.shape
    assert (decoded - truth).abs().max() <= 1e-5 * truth.abs().max()


def test_weights_are_shared_and_named_as_in_the_stock_autoencoder() -> None:
    stock = _stock()
    ours = PartitionedAutoencoderKL.from_autoencoder(stock)
    expected, found = stock.state_dict(), ours.state_dict()
    assert list(found) == list(expected)
    assert all(found[name].data_ptr() == expected[name].data_ptr() for name in expected)
    assert not ours.training
    assert stock.encoder.conv_in.stride == (1, 1)


def test_the_configuration_is_the_stock_one_with_five_levels() -> None:
    stock = _stock()
    ours = PartitionedAutoencoderKL.from_autoencoder(stock)
    changed = {k for k, v in stock.config.items() if k[0] != "_" and ours.config[k] != v}
    assert changed == {"block_out_channels"}
    assert ours.config.block_out_channels == (4, 4, 8, 8, 12)
    assert 2 ** (len(ours.config.block_out_channels) - 1) == 16


def test_keeps_latent_statistics() -> None:
    stock = _stock(latents_mean=(0.5,) * 6, latents_std=(2.0,) * 6)
    ours = PartitionedAutoencoderKL.from_autoencoder(stock)
    assert (ours.config.latents_mean, ours.config.latents_std) == ((0.5,) * 6, (2.0,) * 6)
    assert (ours.config.scaling_factor, ours.config.shift_factor) == (1.5, 0.06)


@pytest.mark.parametrize("changes", VARIANTS)
def test_round_trip(changes: dict[str, Any], tmp_path: Path) -> None:
    ours = PartitionedAutoencoderKL.from_autoencoder(_stock(**changes))
    ours.save_pretrained(tmp_path)
    again = PartitionedAutoencoderKL.from_pretrained(tmp_path)
    again_by_helper = load_autoencoder(tmp_path)
    latents = torch.randn(1, 6, 2, 3)
    with torch.no_grad():
        expected = ours.decode(latents).sample
        assert torch.equal(again.decode(latents).sample, expected)
        assert torch.equal(again_by_helper.decode(latents).sample, expected)
    assert tuple(again.config.block_out_channels) == (4, 4, 8, 8, 12)
    assert again.config.scaling_factor == 1.5


def test_checkpoints_stay_interchangeable() -> None:
    stock = _stock()
    ours = PartitionedAutoencoderKL.from_autoencoder(copy.deepcopy(stock))
    with torch.no_grad():
        ours.decoder.conv_out.weight.mul_(2.0)
    stock.load_state_dict(ours.state_dict())
    assert torch.equal(stock.decoder.conv_out.weight, ours.decoder.conv_out.weight)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype: torch.dtype, tmp_path: Path) -> None:
    stock = _stock()
    stock.save_pretrained(tmp_path)
    truth = PartitionedAutoencoderKL.from_autoencoder(stock)
    ours = load_autoencoder(tmp_path, dtype)
    assert ours.dtype == dtype
    images = torch.rand(1, 3, 32, 48) * 2 - 1
    with torch.no_grad():
        latents = ours.encode(images.to(dtype)).latent_dist.mean
        decoded = ours.decode(latents).sample
        assert decoded.dtype == dtype
        expected = truth.decode(latents.float()).sample
    assert (decoded - expected).abs().max() <= 0.1 * expected.abs().max()


def test_slicing_changes_nothing() -> None:
    ours = PartitionedAutoencoderKL.from_autoencoder(_stock())
    images = torch.rand(3, 3, 32, 16)
    with torch.no_grad():
        whole = ours(images).sample
        ours.enable_slicing()
        torch.testing.assert_close(ours(images).sample, whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize("sample_size", [1, 32, 64, 100, 256, (64, 128)])
def test_tiles_are_whole_latents(sample_size: Any) -> None:
    ours = PartitionedAutoencoderKL.from_autoencoder(_stock(sample_size=sample_size))
    side = max(sample_size) if isinstance(sample_size, tuple) else sample_size
    assert ours.tile_sample_min_size == 64 * math.ceil(side / 64)
    assert ours.tile_latent_min_size * 16 == ours.tile_sample_min_size
    assert ours.tile_latent_min_size * ours.tile_overlap_factor % 1 == 0


@pytest.mark.parametrize(("height", "width"), [(96, 96), (64, 160), (208, 80)])
def test_tiling_covers_the_image(height: int, width: int) -> None:
    ours = PartitionedAutoencoderKL.from_autoencoder(_stock(use_quant_conv=True))
    ours.enable_tiling()
    images = torch.rand(1, 3, height, width)
    with torch.no_grad():
        latents = ours.encode(images).latent_dist.mean
        assert latents.shape == (1, 6, height // 16, width // 16)
        assert ours.decode(latents).sample.shape == images.shape


def test_tiles_lie_where_they_belong() -> None:
    # Group norms and attention see a tile instead of the image; without them a tile's values are
    # exactly the image's, farther than the receptive field (14 latents) from its cut edges.
    ours = PartitionedAutoencoderKL.from_autoencoder(
        _stock(mid_block_add_attention=False, sample_size=512)
    )
    norms = [n for n, m in ours.named_modules() if isinstance(m, torch.nn.GroupNorm)]
    for name in norms:
        parent, _, child = name.rpartition(".")
        setattr(ours.get_submodule(parent), child, torch.nn.Identity())
    images, latents = torch.rand(1, 3, 16, 56 * 16), torch.randn(1, 6, 1, 56)
    with torch.no_grad():
        moments, decoded = ours.encode(images).latent_dist.parameters, ours.decode(latents).sample
        ours.enable_tiling()
        tiled_moments = ours.encode(images).latent_dist.parameters
        tiled = ours.decode(latents).sample
    # Tiles of 32 latents start at 0, 24 and 48.
    for start, stop in ((0, 18), (38, 48)):
        own, pixels = slice(start, stop), slice(16 * start, 16 * stop)
        torch.testing.assert_close(tiled_moments[..., own], moments[..., own], rtol=0, atol=1e-5)
        torch.testing.assert_close(tiled[..., pixels], decoded[..., pixels], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("height", "width", "nearest"), [(100, 64, "64 x 96"), (64, 1, "16 x 64"), (24, 40, "32 x 32")]
)
def test_refuses_sizes_that_are_no_multiple_of_16(height: int, width: int, nearest: str) -> None:
    ours = PartitionedAutoencoderKL.from_autoencoder(_stock())
    with pytest.raises(UsageError, match=f"{width} x {height}.*multiples of 16.*{nearest}"):
        ours.encode(torch.zeros(1, 3, height, width))


def test_refuses_wrong_axes() -> None:
    ours = PartitionedAutoencoderKL.from_autoencoder(_stock())
    with pytest.raises(UsageError, match=r"images of shape \(1, 4, 16, 16\)"):
        ours.encode(torch.zeros(1, 4, 16, 16))
    with pytest.raises(UsageError, match=r"images of shape \(3, 16, 16\)"):
        ours.encode(torch.zeros(3, 16, 16))
    with pytest.raises(UsageError, match=r"latents of shape \(1, 16, 2, 2\): expected \(batch, 6"):
        ours.decode(torch.zeros(1, 16, 2, 2))


def test_refuses_other_depths_and_classes() -> None:
    three = _stock(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(4, 8, 8),
    )
    with pytest.raises(Diffusion4kError, match="3 blocks"):
        PartitionedAutoencoderKL.from_autoencoder(three)
    ours = PartitionedAutoencoderKL.from_autoencoder(_stock())
    with pytest.raises(Diffusion4kError, match="only a stock diffusers AutoencoderKL"):
        PartitionedAutoencoderKL.from_autoencoder(ours)


def test_from_pretrained_refuses_a_stock_folder_and_the_helper_converts_it(tmp_path: Path) -> None:
    stock = _stock()
    stock.save_pretrained(tmp_path)
    with pytest.raises(Diffusion4kError, match="load_autoencoder"):
        PartitionedAutoencoderKL.from_pretrained(tmp_path)
    ours = load_autoencoder(tmp_path)
    latents = torch.randn(1, 6, 2, 2)
    with torch.no_grad():
        expected = unfolded(stock).decode(latents).sample
        torch.testing.assert_close(ours.decode(latents).sample, expected, rtol=0, atol=1e-5)


def test_helper_names_what_is_wrong_with_a_folder(tmp_path: Path) -> None:
    with pytest.raises(Diffusion4kError, match=r"config\.json: no such file"):
        load_autoencoder(tmp_path / "absent")
    config = tmp_path / "config.json"
    for content in ("{", "[]", "{}", '{"_class_name": "AutoencoderDC"}'):
        config.write_text(content)
        with pytest.raises(Diffusion4kError, match=r"config\.json"):
            load_autoencoder(tmp_path)
    _stock().save_pretrained(tmp_path)
    weights = tmp_path / "diffusion_pytorch_model.safetensors"
    complete = weights.read_bytes()
    weights.write_bytes(complete[: len(complete) // 2])
    with pytest.raises(Diffusion4kError, match="cannot be loaded"):
        load_autoencoder(tmp_path)
    weights.unlink()
    with pytest.raises(Diffusion4kError, match="cannot be loaded"):
        load_autoencoder(tmp_path)


def test_helper_refuses_incomplete_weights(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    _stock().save_pretrained(tmp_path)
    weights = tmp_path / "diffusion_pytorch_model.safetensors"
    state = load_file(weights)
    del state["decoder.conv_out.weight"]
    save_file(state, weights)
    with pytest.raises(Diffusion4kError, match=r"1 weights are missing \(decoder.conv_out.weight"):
        load_autoencoder(tmp_path)


def test_refuses_a_five_level_configuration_that_does_not_fit() -> None:
    config = json.loads(json.dumps({k: v for k, v in _stock().config.items() if k[0] != "_"}))
    for levels in ((4, 8, 8, 12, 12), (4, 4, 8, 8, 12, 12)):
        with pytest.raises(Diffusion4kError, match="expected five levels, the first two equal"):
            PartitionedAutoencoderKL(**config | {"block_out_channels": levels})


def test_public_address() -> None:
    assert diffusion4k.PartitionedAutoencoderKL is PartitionedAutoencoderKL
    with pytest.raises(AttributeError, match="no attribute 'Absent'"):
        _ = diffusion4k.Absent


def test_trains() -> None:
    ours = PartitionedAutoencoderKL.from_autoencoder(_stock()).train()
    ours.enable_gradient_checkpointing()
    images = torch.rand(1, 3, 32, 32)
    (ours(images).sample - images).square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in ours.parameters())
