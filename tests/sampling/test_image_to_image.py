"""Starting from an image: what the stock image-to-image pipelines give, and refusals."""

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusion3Img2ImgPipeline
from PIL import Image

from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.families.sd3 import StableDiffusion3
from diffusion4k.sampling import Request, Sampler, generate, read_metadata
from diffusion4k.sampling.image_to_image import initial_image
from diffusion4k.support.files import sha256_of


@pytest.fixture(scope="module")
def photograph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Smaller than what is made of it."""
    path = tmp_path_factory.mktemp("photographs") / "init.png"
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((48, 32), Image.Resampling.BICUBIC).save(path)
    return path


@pytest.mark.parametrize("factor", [8, 16])
@pytest.mark.parametrize(("strength", "steps", "made"), [(0.35, 6, 3), (1.0, 2, 2), (0.01, 4, 1)])
def test_latents_are_those_of_the_stock_pipeline(
    tiny_model: Path, photograph: Path, factor: int, strength: float, steps: int, made: int
) -> None:
    sampler = Sampler(tiny_model, factor=factor)
    settings = sampler.settle(
        Request(
            "a cat",
            3,
            width=96,
            height=64,
            steps=steps,
            guidance=4.0,
            init=photograph,
            strength=strength,
        )
    )
    calls: list[None] = []
    ours = sampler.denoise(settings, lambda: calls.append(None))
    assert len(calls) == settings.denoising_steps == made
    whole = StableDiffusion3(factor).load_pipeline(tiny_model, dtype=torch.float32)
    stock = StableDiffusion3Img2ImgPipeline(**whole.components)
    expected = stock(
        "a cat",
        image=Image.open(photograph),
        strength=strength,
        width=96,
        height=64,
        num_inference_steps=steps,
        guidance_scale=4.0,
        generator=torch.Generator().manual_seed(3),
        output_type="latent",
    ).images
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-4)


def test_bounded_memory_starts_from_the_same(tiny_model: Path, photograph: Path) -> None:
    request = Request(
        "a cat", 3, width=96, height=64, steps=4, guidance=0, init=photograph, strength=0.5
    )
    whole, lean = (Sampler(tiny_model, max_memory=most) for most in (None, "200K"))
    torch.testing.assert_close(
        lean.denoise(lean.settle(request)), whole.denoise(whole.settle(request)), rtol=0, atol=1e-4
    )


def test_the_middle_is_taken_of_another_aspect(tmp_path: Path) -> None:
    wide = Image.new("RGB", (96, 32), "red")
    wide.paste("blue", (32, 0, 64, 32))
    wide.save(tmp_path / "wide.png")
    image = initial_image(tmp_path / "wide.png", 64, 64)
    assert image.shape == (1, 3, 64, 64)
    # The box ends where red begins; a filter may see a pixel of it, a stretched image is a third.
    blue = torch.tensor([-1.0, -1.0, 1.0]).view(3, 1, 1)
    assert torch.equal(image[0, :, :, 8:-8], blue.expand(3, 64, 48))


def test_the_image_says_what_it_started_from(
    tiny_model: Path, photograph: Path, tmp_path: Path
) -> None:
    request = Request("a cat", 0, width=64, height=64, steps=2, init=photograph)
    (made,) = generate([request], tiny_model, out=tmp_path, progress=False)
    record = read_metadata(made.path)
    assert record["init"] == str(photograph) and record["strength"] == 0.35
    assert record["init_sha256"] == sha256_of(photograph)
    (again,) = generate([request], tiny_model, out=tmp_path, progress=False)
    assert not again.is_new
    plain, stronger = (
        generate([other], tiny_model, out=tmp_path, progress=False)[0]
        for other in (
            Request("a cat", 0, width=64, height=64, steps=2),
            Request("a cat", 0, width=64, height=64, steps=2, init=photograph, strength=0.5),
        )
    )
    assert len({made.path, plain.path, stronger.path}) == 3


@pytest.mark.parametrize("strength", [0, -0.1, 1.01, float("nan")])
def test_a_strength_out_of_range_is_refused(
    sampler: Sampler, photograph: Path, strength: float
) -> None:
    with pytest.raises(UsageError, match="allowed is above 0 to 1"):
        sampler.settle(Request("a cat", width=64, height=64, init=photograph, strength=strength))


def test_a_strength_without_image_is_refused(sampler: Sampler) -> None:
    with pytest.raises(UsageError, match="without an image to start from"):
        sampler.settle(Request("a cat", width=64, height=64, strength=0.5))


def test_what_is_no_image_is_refused(sampler: Sampler, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file: give an image file"):
        sampler.settle(Request("a cat", width=64, height=64, init=tmp_path / "absent.png"))
    text = tmp_path / "text.png"
    text.write_text("no image")
    with pytest.raises(Diffusion4kError, match="not an image"):
        sampler.settle(Request("a cat", width=64, height=64, init=text))
