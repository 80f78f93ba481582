"""Images equal those of the stock pipeline called directly, whatever is made before them."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageChops

from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.sampling import Request, Sampler, SamplingSettings


def _equal(a: Image.Image, b: Image.Image) -> bool:
    return a.size == b.size and ImageChops.difference(a, b).getbbox() is None


@pytest.mark.parametrize(
    ("guidance", "negative"), [(4.0, "blurred"), (4.0, ""), (1.0, ""), (0, "")]
)
def test_equals_the_stock_pipeline(sampler: Sampler, guidance: float, negative: str) -> None:
    settings = sampler.settle(
        Request(
            "a red cat",
            5,
            negative_prompt=negative,
            width=96,
            height=64,
            steps=3,
            guidance=guidance,
        )
    )
    stock = sampler.family.load_pipeline(sampler.folder, dtype=torch.float32)
    expected = stock(
        "a red cat",
        negative_prompt=negative or None,
        width=96,
        height=64,
        num_inference_steps=3,
        guidance_scale=guidance,
        generator=torch.Generator().manual_seed(5),
    ).images[0]
    # The lean decoder sums in another order: a value that lies at .5 may be rounded the other way.
    found = np.asarray(sampler.sample(settings), np.int16)
    difference = np.abs(found - np.asarray(expected, np.int16))
    assert difference.max() <= 1
    assert difference.mean() < 1e-3


def test_strips_are_the_image_in_bounded_memory(
    sampler: Sampler, settings: SamplingSettings
) -> None:
    whole = np.asarray(sampler.sample(settings), np.int16)
    lean = Sampler(sampler.folder, max_memory="200K")
    strips = list(lean.sample_strips(settings))
    assert len(strips) > 1
    assert np.abs(np.concatenate(strips).astype(np.int16) - whole).max() <= 1


def test_too_little_memory_is_said_before_the_first_step(
    sampler: Sampler, settings: SamplingSettings
) -> None:
    steps: list[None] = []
    with pytest.raises(UsageError, match="at least"):
        Sampler(sampler.folder, max_memory="1K").sample(settings, lambda: steps.append(None))
    assert not steps


def test_same_settings_same_image_to_the_bit(sampler: Sampler, settings: SamplingSettings) -> None:
    first = sampler.sample(settings)
    other = sampler.sample(replace(settings, seed=4))
    again = Sampler(sampler.folder).sample(settings)
    assert _equal(first, again)
    assert not _equal(first, other)
    assert np.asarray(first).std() > 0


def test_steps_are_reported(sampler: Sampler, settings: SamplingSettings) -> None:
    calls: list[None] = []
    sampler.sample(settings, on_step=lambda: calls.append(None))
    assert len(calls) == settings.steps


def test_each_prompt_is_encoded_once(
    tiny_model: Path, settings: SamplingSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampler = Sampler(tiny_model)
    encoded: list[str] = []
    encode_text = type(sampler.family).encode_text

    def counted(
        family: object, encoders: object, captions: list[str], **options: bool
    ) -> dict[str, torch.Tensor]:
        encoded.extend(captions)
        return encode_text(family, encoders, captions, **options)

    monkeypatch.setattr(type(sampler.family), "encode_text", counted)
    sampler.encode(["a", "b", "a"])
    sampler.encode(["b"])
    assert encoded == ["a", "b"]


def test_nan_latents_are_reported(
    tiny_model: Path, settings: SamplingSettings, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    model = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    path = model / "transformer" / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    weights["proj_out.bias"][0] = float("nan")
    save_file(weights, path)
    with pytest.raises(Diffusion4kError, match="NaN or infinite after step 1 of 2 in float32"):
        Sampler(model).sample(settings)


def test_out_of_memory_costs_one_line(sampler: Sampler, settings: SamplingSettings) -> None:
    def exhausted() -> None:
        raise torch.OutOfMemoryError("tried to allocate 40 GiB")

    with pytest.raises(Diffusion4kError, match="out of memory on cpu at 64x96"):
        sampler.sample(settings, on_step=exhausted)


def test_the_fingerprint_tells_models_apart(tiny_model: Path, tmp_path: Path) -> None:
    request = Request("a cat", width=64, height=64)
    model = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    original = Sampler(tiny_model).settle(request).model_fingerprint
    (model / "README.md").write_text("a model card")
    assert Sampler(model).settle(request).model_fingerprint == original
    (model / "diffusion4k.json").write_text('{"steps": 4, "high_resolution": {}}')
    assert Sampler(model).settle(request).model_fingerprint != original
    (model / "diffusion4k.json").write_text('{"steps": 4}')
    assert Sampler(model).settle(request).model_fingerprint == original
    path = model / "transformer" / "diffusion_pytorch_model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert Sampler(model).settle(request).model_fingerprint != original


def test_an_unknown_dtype_is_refused(tiny_model: Path) -> None:
    with pytest.raises(UsageError, match="dtype int8: allowed are"):
        Sampler(tiny_model, dtype="int8")


def test_bfloat16_makes_an_image(tiny_model: Path, settings: SamplingSettings) -> None:
    assert Sampler(tiny_model, dtype="bfloat16").sample(settings).size == (64, 96)
