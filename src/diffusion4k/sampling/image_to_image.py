"""Starting from an image: a 2K image refined at 4K (SDEdit, Meng et al., arXiv 2108.01073).

The image is enlarged, encoded, noised up to the sigma where the last `strength` of the sampling
steps begins, and denoised from there by the family's stock image-to-image pipeline.
"""

import copy
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from diffusers.utils.torch_utils import randn_tensor
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from diffusion4k.data.images import open_rgb
from diffusion4k.data.pixels import normalised
from diffusion4k.families.base import Family
from diffusion4k.sampling.stages import steps_made

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline, SchedulerMixin

__all__ = ["enlarge", "fitted", "from_latents", "initial_image", "with_parts"]


def initial_image(path: str | Path, width: int, height: int) -> Tensor:
    """The image at `width` x `height` pixels, `(1, 3, height, width)` in [-1, 1].

    Of another aspect ratio the middle is taken.

    Raises:
        Diffusion4kError: no such file, no image, or a damaged one.
    """
    return fitted(open_rgb(path), width, height)


class MadeImages(Protocol):
    """What a stock pipeline returns."""

    images: Tensor
    """Latents, as they are asked for here."""


def fitted(image: Image.Image, width: int, height: int) -> Tensor:
    """An RGB image resized to `width` x `height` by Lanczos, `(1, 3, height, width)` in [-1, 1]."""
    return normalised(enlarge(np.asarray(image), width, height))


def enlarge(picture: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """A picture `(H, W, 3)` at `width` x `height` pixels, by Lanczos, its middle if need be."""
    size = width, height
    return np.array(ImageOps.fit(Image.fromarray(picture), size, Image.Resampling.LANCZOS))


def with_parts(
    pipeline: "DiffusionPipeline", pipeline_class: str, **parts: object
) -> "DiffusionPipeline":
    """A stock pipeline of that class with the components of another, but for `parts`."""
    import diffusers

    found = getattr(diffusers, pipeline_class)(**{**pipeline.components, **parts})
    found.set_progress_bar_config(disable=True)
    return found


def from_latents(
    pipeline: "DiffusionPipeline",
    family: Family,
    latents: Tensor,
    *,
    steps: int,
    strength: float,
    generator: torch.Generator,
    **options: object,
) -> MadeImages:
    """What the pipeline makes of clean latents: their last `strength` of the steps made again.

    By the family's stock image-to-image pipeline; where diffusers has none, or none that takes the
    scheduler, by its stock pipeline from noisy latents on the last steps of the schedule, which is
    the same.

    Args:
        pipeline: the family's own; its components are used.
        latents: normalised `(1, C, h, w)`.
        options: of the stock pipeline's call: size, embeddings and so on.
    """
    options |= {"num_inference_steps": steps, "generator": generator}
    if family.image_to_image_class and hasattr(pipeline.scheduler, "scale_noise"):
        pipeline = with_parts(pipeline, family.image_to_image_class)
        # By their channels it tells latents from images; not all classes say how many there are.
        pipeline.image_processor.register_to_config(vae_latent_channels=latents.shape[1])
        return pipeline(image=latents, strength=strength, **options)
    scheduler = _last_steps(pipeline.scheduler, steps_made(steps, strength))
    noise = randn_tensor(
        latents.shape, generator=generator, device=latents.device, dtype=latents.dtype
    )
    family.set_timesteps(scheduler, steps, latents)
    first = scheduler.timesteps[:1]
    if hasattr(scheduler, "scale_noise"):
        noisy = scheduler.scale_noise(latents, first, noise)
    else:
        noisy = scheduler.add_noise(latents, noise, first)
    pipeline = with_parts(pipeline, family.pipeline_class, scheduler=scheduler)
    return pipeline(latents=family.pipeline_latents(noisy), **options)


def _last_steps(scheduler: "SchedulerMixin", count: int) -> "SchedulerMixin":
    """A copy of a scheduler that gives a pipeline the last `count` timesteps of its schedule."""
    found = copy.deepcopy(scheduler)
    set_timesteps, step, set_begin_index = found.set_timesteps, found.step, found.set_begin_index
    whole: list[Tensor] = []

    # Pipelines ask whether it takes noise levels.
    @functools.wraps(set_timesteps)
    def set_last_timesteps(*args: object, **kwargs: object) -> None:
        set_timesteps(*args, **kwargs)
        whole[:] = [found.timesteps]
        first = len(found.timesteps) - count * found.order
        found.timesteps = found.timesteps[first:]
        # Some pipelines set it themselves, to the 0 of what they were given.
        found.set_begin_index = lambda begin_index=0: set_begin_index(first + begin_index)
        found.set_begin_index()

    def step_of_whole(*args: object, **kwargs: object) -> object:
        # Whoever steps counts in the whole schedule, as in stock image-to-image pipelines.
        found.timesteps = whole[0]
        return step(*args, **kwargs)

    found.set_timesteps, found.step = set_last_timesteps, step_of_whole
    return found
