"""An image at its full size at once: from noise, or from an image that is refined."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from diffusion4k.families.base import Family
from diffusion4k.sampling.denoising import denoising
from diffusion4k.sampling.image_to_image import from_latents, initial_image, with_parts
from diffusion4k.sampling.request import STRENGTH, SamplingSettings
from diffusion4k.sampling.shift import with_shift
from diffusion4k.support.devices import enough_memory

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

    from diffusion4k.sampling.sampler import Sampler

__all__ = ["denoise_directly", "from_noise", "out_of_memory"]


def denoise_directly(
    sampler: "Sampler", settings: SamplingSettings, on_step: Callable[[], None] | None
) -> Tensor:
    """The normalised latents `(1, C, height/F, width/F)` of an image that is not made in stages."""
    family, pipeline = sampler.family, sampler.pipeline
    if settings.shift is not None:
        scheduler = with_shift(pipeline.scheduler, settings.shift)
        pipeline = with_parts(pipeline, family.pipeline_class, scheduler=scheduler)
    size, max_memory = (settings.width, settings.height), sampler.placement.max_memory
    # Before the minutes that sampling takes.
    family.check_decode_memory(pipeline.vae, *size, max_memory)
    generator = torch.Generator().manual_seed(settings.seed)
    options = sampler.call_arguments(settings, settings.guidance, on_step)
    steered = denoising(
        sampler,
        settings,
        pipeline,
        family,
        settings.guidance,
        steps=settings.denoising_steps,
        schedule_steps=settings.steps,
    )
    with out_of_memory(*size, sampler.device), steered as around:
        if settings.init is None:
            sampler.placement.before_denoising(pipeline)
            pipeline = around.pipeline_for(*size)
            return from_noise(pipeline, family, *size, settings.steps, generator, **options)
        image = initial_image(settings.init, *size).to(sampler.device, sampler.torch_dtype)
        latents = family.draw_latents(pipeline.vae, image, generator, max_memory)
        sampler.placement.before_denoising(pipeline)
        made = from_latents(
            around.pipeline_for(*size),
            family,
            latents,
            steps=settings.steps,
            strength=STRENGTH if settings.strength is None else settings.strength,
            generator=generator,
            width=settings.width,
            height=settings.height,
            output_type="latent",
            **options,
        ).images
    return family.spatial_latents(made, pipeline.vae, *size)


def from_noise(
    pipeline: "DiffusionPipeline",
    family: Family,
    width: int,
    height: int,
    steps: int,
    generator: torch.Generator,
    **options: object,
) -> Tensor:
    """The normalised latents that the stock pipeline makes of noise; `options` are of its call."""
    latents = pipeline(
        width=width,
        height=height,
        num_inference_steps=steps,
        generator=generator,
        output_type="latent",
        **options,
    ).images
    return family.spatial_latents(latents, pipeline.vae, width, height)


def out_of_memory(width: int, height: int, device: torch.device) -> AbstractContextManager[None]:
    """One line, with the size, where memory runs out: see `enough_memory`."""
    return enough_memory(
        f"out of memory on {device} at {width}x{height}: close other programs, or ask for a "
        "smaller size"
    )
