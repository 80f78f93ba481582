"""The Flux family against the stock diffusers pipeline."""

from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline
from torch import Tensor

from benchmarks.tiny import tiny_autoencoder, tiny_tokenizer
from diffusion4k.errors import UsageError
from diffusion4k.families import Defaults, family_of
from diffusion4k.families.stages import StageOptions
from diffusion4k.sampling import Request, Sampler
from tests.families.contract import FamilyContract
from tests.families.parts import tiny_clip_text, tiny_flux_transformer, tiny_t5


def tiny_flux(folder: Path, *, distilled: bool = True) -> Path:
    """Save a tiny dev (guidance-distilled) or schnell pipeline."""
    tokenizer = tiny_tokenizer()
    tokenizer_2, text_encoder_2 = tiny_t5()
    FluxPipeline(
        transformer=tiny_flux_transformer(distilled=distilled),
        scheduler=FlowMatchEulerDiscreteScheduler(
            use_dynamic_shifting=distilled, shift=3.0 if distilled else 1.0
        ),
        vae=tiny_autoencoder(),
        text_encoder=tiny_clip_text(tokenizer),
        tokenizer=tokenizer,
        text_encoder_2=text_encoder_2,
        tokenizer_2=tokenizer_2,
    ).save_pretrained(folder)
    return folder


class _Flux(FamilyContract):
    def packed(self, stock: Any, latents: Tensor) -> Tensor:
        return stock._pack_latents(latents, *latents.shape)


class TestDev(_Flux):
    guidances = (5.0, 1.0, 0.0)
    training_options: ClassVar = {"guidance_scale": 3.5}
    build = staticmethod(tiny_flux)


class TestSchnell(_Flux):
    guidances = (0.0,)
    stock_options: ClassVar = {"max_sequence_length": 256}

    @staticmethod
    def build(folder: Path) -> Path:
        return tiny_flux(folder, distilled=False)


def test_a_negative_prompt_is_refused(tmp_path: Path) -> None:
    sampler = Sampler(tiny_flux(tmp_path / "model"))
    with pytest.raises(UsageError, match=r"a negative prompt: .* takes none"):
        sampler.settle(Request("a", negative_prompt="b", guidance=4.0))


def test_schnell_takes_no_guidance(tmp_path: Path) -> None:
    model = tiny_flux(tmp_path / "model", distilled=False)
    family = family_of(model)
    assert family.guidance_kind(model) == "none"
    assert family.defaults(model) == Defaults(steps=4, guidance=0, width=4096, height=4096)
    with pytest.raises(UsageError, match=r"guidance 3\.5: .* takes none"):
        Sampler(model).settle(Request("a", guidance=3.5))


def test_packed_latents_are_unpacked(tmp_path: Path) -> None:
    family = family_of(tiny_flux(tmp_path / "model"))
    latents = torch.arange(2 * 3 * 4 * 6.0).reshape(2, 3, 4, 6)
    packed = FluxPipeline._pack_latents(latents, 2, 3, 4, 6)
    assert torch.equal(family.spatial_latents(packed, None, 6 * 16, 4 * 16), latents)


def test_stages_by_another_solver(tmp_path: Path) -> None:
    """The stock pipeline gives it the shift for the number of tokens, of which it has its own."""
    sampler = Sampler(tiny_flux(tmp_path / "model"))
    options = StageOptions(window=2, strength=0.5, solver="dpm++")
    request = Request("a cat", 1, width=128, height=128, steps=2, guidance=0.0, draft=64)
    settings = sampler.settle(request.model_copy(update={"stage_options": options}))
    latents = sampler.denoise(settings)
    assert latents.shape == (1, 16, 8, 8) and latents.isfinite().all()
