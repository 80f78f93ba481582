"""Decoding and encoding in strips equals the plain way of ComfyUI's own kind of autoencoder."""

import json
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

from benchmarks.comfyui_stand_in import LdmAutoencoder, StandInVae
from benchmarks.tiny import tiny_autoencoder
from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.vae import (
    PartitionedAutoencoderKL,
    ScaleConsistentAutoencoderKL,
    load_autoencoder,
)
from diffusion4k.vae.ldm import from_ldm
from tests.vae.reference import unfolded
from tests.vae.test_ldm import tiny


@pytest.fixture(scope="module")
def vae() -> StandInVae:
    return StandInVae(tiny())


def assert_close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def node(nodes: ModuleType, name: str):
    return nodes.NODE_CLASS_MAPPINGS[f"Diffusion4K{name}"]()


@pytest.mark.parametrize("gib", [0.0, 0.0005])
def test_decode_is_the_plain_decode(nodes: ModuleType, vae: StandInVae, gib: float) -> None:
    samples = {"samples": torch.randn(2, 4, 11, 6)}
    (images,) = node(nodes, "DecodeInStrips").run(samples, vae, "as loaded", gib)
    assert images.shape == (2, 88, 48, 3)
    assert images.dtype == torch.float32
    assert_close(images, vae.decode(samples["samples"]))
    assert images.min() >= 0 and images.max() <= 1


@pytest.mark.parametrize("gib", [0.0, 0.0005])
def test_encode_is_the_plain_encode(nodes: ModuleType, vae: StandInVae, gib: float) -> None:
    pixels = torch.rand(2, 88, 48, 3)
    (latents,) = node(nodes, "EncodeInStrips").run(pixels, vae, "as loaded", gib)
    assert latents["samples"].shape == (2, 4, 11, 6)
    assert_close(latents["samples"], vae.encode(pixels))


def test_encode_crops_about_the_centre_and_leaves_out_transparency(
    nodes: ModuleType, vae: StandInVae
) -> None:
    pixels = torch.rand(1, 88 + 5, 48 + 3, 4)
    (latents,) = node(nodes, "EncodeInStrips").run(pixels, vae, "as loaded", 0.0)
    assert_close(latents["samples"], vae.encode(pixels[:, 2:90, 1:49, :3]))


@torch.inference_mode()
def test_f16_with_the_weights_of_f8(nodes: ModuleType, vae: StandInVae) -> None:
    plain = unfolded(from_ldm(vae.first_stage_model))
    latents, pixels = torch.randn(1, 4, 5, 3), torch.rand(1, 80, 48, 3)
    (images,) = node(nodes, "DecodeInStrips").run({"samples": latents}, vae, "16", 0.001)
    expected = ((plain.decode(latents).sample + 1) / 2).clamp(0, 1)
    assert_close(images, expected.movedim(1, -1))
    (found,) = node(nodes, "EncodeInStrips").run(pixels, vae, "16", 0.001)
    expected = plain.encode(2 * pixels.movedim(-1, 1) - 1).latent_dist.mode()
    assert_close(found["samples"], expected)
    # ComfyUI's own module is as it was.
    assert vae.first_stage_model.encoder.conv_in.stride == (1, 1)
    assert vae.decode(latents).shape == (1, 40, 24, 3)


def test_in_half_precision(nodes: ModuleType) -> None:
    half = StandInVae(tiny(), torch.bfloat16)
    latents = torch.randn(1, 4, 6, 6)
    (images,) = node(nodes, "DecodeInStrips").run({"samples": latents}, half, "as loaded", 1.0)
    assert images.dtype == torch.float32
    assert (images - half.decode(latents)).abs().max() < 0.05


def test_weights_come_to_the_device_first(nodes: ModuleType, vae: StandInVae) -> None:
    loaded = sys.modules["comfy.model_management"].loaded
    loaded.clear()
    node(nodes, "DecodeInStrips").run({"samples": torch.randn(1, 4, 2, 2)}, vae, "as loaded", 0.0)
    assert loaded == [vae.patcher]


@pytest.mark.parametrize(
    ("latents", "message"),
    [
        (torch.randn(1, 16, 4, 4), r"latents of shape \(1, 16, 4, 4\): expected \(batch, 4,"),
        (torch.randn(1, 4, 1, 4, 4), "latents of shape"),  # of a video
        (torch.full((1, 4, 4, 4), float("nan")), "NaN or infinity"),
    ],
)
def test_wrong_latents_are_refused(
    nodes: ModuleType, vae: StandInVae, latents: Tensor, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        node(nodes, "DecodeInStrips").run({"samples": latents}, vae, "as loaded", 0.0)


def test_too_little_memory_and_other_autoencoders_are_refused(
    nodes: ModuleType, vae: StandInVae
) -> None:
    samples = {"samples": torch.randn(1, 4, 64, 64)}
    with pytest.raises(UsageError, match=r"cannot hold one strip .* allow at least"):
        node(nodes, "DecodeInStrips").run(samples, vae, "as loaded", 1e-6)
    other = StandInVae(LdmAutoencoder((8, 16), latents=4, layers=1, groups=4))
    with pytest.raises(Diffusion4kError, match="2 blocks; F=16 needs an autoencoder of four"):
        node(nodes, "DecodeInStrips").run(samples, other, "16", 0.0)
    other.first_stage_model = None
    with pytest.raises(UsageError, match="holds no autoencoder"):
        node(nodes, "DecodeInStrips").run(samples, other, "as loaded", 0.0)


@pytest.fixture(scope="module")
def folders(models: Path) -> Path:
    """Autoencoders in every place that the loader looks at, and a folder that is none."""
    stock = tiny_autoencoder()
    PartitionedAutoencoderKL.from_autoencoder(stock).save_pretrained(models / "vae" / "f16")
    ScaleConsistentAutoencoderKL.from_autoencoder(stock).save_pretrained(
        models / "diffusers" / "mine" / "vae"
    )
    stock.save_pretrained(models / "vae" / "f8")
    (models / "vae" / "empty").mkdir()
    return models


def test_folders_are_offered(nodes: ModuleType, folders: Path) -> None:
    (offered, _) = node(nodes, "LoadF16Autoencoder").INPUT_TYPES()["required"]["folder"]
    assert offered == ["vae/f16", "vae/f8", "diffusers/mine/vae", "pocket"]


@pytest.mark.parametrize("name", ["vae/f16", "vae/f8", "diffusers/mine/vae"])
@torch.inference_mode()
def test_a_loaded_autoencoder(nodes: ModuleType, folders: Path, name: str) -> None:
    (vae,) = node(nodes, "LoadF16Autoencoder").run(name)
    reference = load_autoencoder(folders / name)
    latents, pixels = torch.randn(1, 16, 4, 6), torch.rand(1, 64, 96, 3)
    expected = ((reference.decode(latents).sample + 1) / 2).clamp(0, 1).movedim(1, -1)
    (images,) = node(nodes, "DecodeInStrips").run({"samples": latents}, vae, "as loaded", 0.01)
    assert_close(images, expected)
    # ComfyUI's own nodes call these.
    assert_close(vae.decode(latents), expected)
    assert_close(vae.decode_tiled(latents, tile_x=32, tile_y=32, overlap=4), expected)
    expected = reference.encode(2 * pixels.movedim(-1, 1) - 1).latent_dist.mode()
    (found,) = node(nodes, "EncodeInStrips").run(pixels, vae, "16", 0.01)
    assert_close(found["samples"], expected)
    assert_close(vae.encode(pixels), expected)
    assert vae.spacial_compression_decode() == vae.spacial_compression_encode() == 16
    assert vae.temporal_compression_decode() is None
    vae.throw_exception_if_invalid()
    assert vae.get_sd().keys() == reference.state_dict().keys()


def test_a_damaged_folder_is_refused(nodes: ModuleType, folders: Path) -> None:
    broken = Path(shutil.copytree(folders / "vae" / "f16", folders / "vae" / "broken"))
    config = json.loads((broken / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps(config | {"_class_name": "AutoencoderDC"}))
    with pytest.raises(Exception, match=r"broken/config\.json: AutoencoderDC cannot run at F=16"):
        node(nodes, "LoadF16Autoencoder").run("vae/broken")
    shutil.rmtree(broken)
