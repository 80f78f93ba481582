"""Strips in stock pipelines: the stock image, and the stock pipeline afterwards."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline, StableDiffusion3Img2ImgPipeline

import diffusion4k.vae.feature_map as feature_map
from benchmarks.tiny import tiny_sd3
from diffusion4k.errors import UsageError
from diffusion4k.vae import disable_strips, enable_strips
from tests.families.test_sana import tiny_sana
from tests.vae.autoencoders import AUTOENCODERS, as_stock

CALL: dict[str, Any] = {"num_inference_steps": 2, "output_type": "np"}
NO_T5: dict[str, Any] = {"text_encoder_3": None, "tokenizer_3": None}
NO_ADAPTER: dict[str, Any] = {"image_encoder": None, "feature_extractor": None}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_sd3(tmp_path_factory.mktemp("sd3"))


@pytest.fixture(scope="module")
def sana(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_sana(tmp_path_factory.mktemp("sana"))


class Holder:
    """A pipeline as far as strips are concerned."""

    def __init__(self, autoencoder: Any) -> None:
        self.vae = autoencoder


def count_maps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    made: list[int] = []
    plain = feature_map.FeatureMap.__init__

    def spy(self, workspace: Any, channels: int, *arguments: Any, **keywords: Any) -> None:
        made.append(channels)
        plain(self, workspace, channels, *arguments, **keywords)

    monkeypatch.setattr(feature_map.FeatureMap, "__init__", spy)
    return made


def test_a_stock_pipeline_makes_its_image(folder: Path, monkeypatch) -> None:
    pipeline = DiffusionPipeline.from_pretrained(folder, **NO_T5)
    call = CALL | {"width": 144, "height": 80}
    expected = pipeline("a red cat", **call, generator=torch.manual_seed(3)).images
    maps = count_maps(monkeypatch)
    assert enable_strips(pipeline, max_memory="4MiB") is pipeline
    found = pipeline("a red cat", **call, generator=torch.manual_seed(3)).images
    assert maps
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert disable_strips(pipeline) is pipeline
    maps.clear()
    again = pipeline("a red cat", **call, generator=torch.manual_seed(3)).images
    assert not maps and np.array_equal(again, expected)


def test_image_to_image_encodes_in_strips_too(folder: Path, monkeypatch) -> None:
    pipeline = StableDiffusion3Img2ImgPipeline.from_pretrained(folder, **NO_T5, **NO_ADAPTER)
    image = torch.rand(1, 3, 80, 144)
    expected = pipeline("a cat", image=image, **CALL, generator=torch.manual_seed(3)).images
    enable_strips(pipeline)
    maps = count_maps(monkeypatch)
    found = pipeline("a cat", image=image, **CALL, generator=torch.manual_seed(3)).images
    assert maps.count(pipeline.vae.config.latent_channels) == 1  # latents that are decoded
    assert maps[0] == pipeline.vae.config.block_out_channels[0]  # the encoder's first
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_sana_makes_its_image(sana: Path) -> None:
    pipeline = DiffusionPipeline.from_pretrained(sana)
    call = CALL | {"width": 192, "height": 128, "use_resolution_binning": False}
    expected = pipeline("a red cat", **call, generator=torch.manual_seed(3)).images
    enable_strips(pipeline, "8MiB")
    found = pipeline("a red cat", **call, generator=torch.manual_seed(3)).images
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("name", ["flux2", "qwen", "qwen 2.1", "wan 2.2", "dc"])
@torch.no_grad()
def test_results_are_of_the_stock_kind(name: str) -> None:
    plain = AUTOENCODERS[name]
    changed = enable_strips(Holder(copy.deepcopy(plain)), "16MiB").vae
    side = 8 * 4
    channels = 12 // 4 if name == "wan 2.2" else getattr(plain.config, "in_channels", 3)
    images = as_stock(plain, torch.randn(2, channels, side, side))
    expected, found = plain.encode(images), changed.encode(images)
    assert type(found) is type(expected) and found.keys() == expected.keys()
    if "latent" in found:
        latents = expected.latent
        torch.testing.assert_close(found.latent, latents, atol=1e-4, rtol=0)
        assert torch.equal(changed.encode(images, return_dict=False)[0], found.latent)
    else:
        latents = expected.latent_dist.mode()
        torch.testing.assert_close(found.latent_dist.mode(), latents, atol=1e-4, rtol=0)
        both = found.latent_dist.sample(torch.manual_seed(0)), expected.latent_dist
        torch.testing.assert_close(both[0], both[1].sample(torch.manual_seed(0)), atol=1e-3, rtol=0)
    expected, found = plain.decode(latents), changed.decode(latents)
    assert type(found) is type(expected)
    torch.testing.assert_close(found.sample, expected.sample, atol=1e-4, rtol=0)
    assert torch.equal(changed.decode(latents, return_dict=False)[0], found.sample)


def test_the_image_may_be_changed_and_a_copy_keeps_its_own_weights() -> None:
    holder = enable_strips(Holder(copy.deepcopy(AUTOENCODERS["dc"])))
    latents = torch.randn(1, 4, 2, 2)
    before = holder.vae.decode(latents).sample
    other = copy.deepcopy(holder.vae)
    torch.nn.init.zeros_(other.decoder.conv_out.weight)
    torch.nn.init.zeros_(other.decoder.conv_out.bias)
    assert not other.decode(latents).sample.any()
    assert torch.equal(holder.vae.decode(latents).sample, before)
    before.add_(1)  # not a tensor of inference mode


def test_twice_is_once_and_off_is_off() -> None:
    holder = Holder(copy.deepcopy(AUTOENCODERS["kl"]))
    disable_strips(holder)
    enable_strips(enable_strips(holder, "1GiB"), "1MiB")
    disable_strips(holder)
    assert not {"encode", "decode"} & vars(holder.vae).keys()


def test_offloading_hooks_are_called() -> None:
    """As accelerate's, which bring an offloaded autoencoder to the device."""

    class Hook:
        calls = 0

        def pre_forward(self, module: Any) -> None:
            self.calls += 1

    vae = copy.deepcopy(AUTOENCODERS["kl"])
    vae._hf_hook = hook = Hook()
    enable_strips(Holder(vae)).vae.decode(torch.randn(1, 4, 2, 2))
    assert hook.calls == 1


@pytest.mark.parametrize(
    ("pipeline", "memory", "said"),
    [
        (object(), None, "object: has no autoencoder `vae`"),
        (Holder(torch.nn.Linear(1, 1)), None, "Linear: its layers are not known"),
        (Holder(AUTOENCODERS["kl"]), "lots", "max_memory 'lots': give a size like 4GiB"),
        (Holder(AUTOENCODERS["kl"]), -1, "max_memory -1: must be positive"),
    ],
)
def test_bad_input_changes_nothing(pipeline: Any, memory: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        enable_strips(pipeline, memory)
    assert "decode" not in vars(AUTOENCODERS["kl"])


def test_a_budget_too_small_is_said_when_it_decodes() -> None:
    vae = enable_strips(Holder(copy.deepcopy(AUTOENCODERS["qwen"])), "1KiB").vae
    with pytest.raises(UsageError, match="at least"):
        vae.decode(torch.randn(1, 4, 1, 4, 4))
