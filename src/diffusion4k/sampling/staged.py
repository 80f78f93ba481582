"""An image in stages: a draft from noise, then each stage from the picture of the one before.

Between stages the picture goes through pixels, of 8 bits each: it is decoded, enlarged by Lanczos
and encoded again, at the factor of the next stage. So a run that continues from the file of a
finished stage gives the same bits as one that was never stopped.
"""

import hashlib
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from diffusion4k.families.base import Family
from diffusion4k.sampling.image_to_image import fitted, from_latents, with_parts
from diffusion4k.sampling.stages import Stage
from diffusion4k.sampling.wavelet_guidance import WaveletGuidance
from diffusion4k.sampling.windows import StageTransformer, Windows

__all__ = ["refine", "stage_latents", "stage_seed"]


def stage_seed(seed: int, number: int) -> int:
    """Of the random numbers of a stage; the draft, number 0, has those of the image."""
    if number == 0:
        return seed
    return int(hashlib.sha256(f"{seed} stage {number}".encode()).hexdigest()[:15], 16)


def stage_latents(
    family: Family,
    autoencoder: Any,
    picture: NDArray[np.uint8],
    stage: Stage,
    generator: torch.Generator,
    max_memory: int | None,
) -> Tensor:
    """Normalised latents `(1, C, h, w)` of a picture `(H, W, 3)`, enlarged to the stage's size."""
    image = fitted(Image.fromarray(picture), stage.width, stage.height)
    image = image.to(autoencoder.device, autoencoder.dtype)
    return family.draw_latents(autoencoder, image, generator, max_memory)


def refine(
    pipeline: Any,
    family: Family,
    latents: Tensor,
    stage: Stage,
    *,
    enlargement: float,
    seed: int,
    generator: torch.Generator,
    timestep_shift: Callable[[int], float],
    **options: Any,
) -> Tensor:
    """The latents of a stage, `(1, C, h, w)` normalised, from those of the enlarged picture.

    Arguments:
        pipeline: the family's stock pipeline, at the stage's factor.
        enlargement: longer side of the stage over that of the picture.
        seed: of the grid of windows.
        generator: of the noise.
        timestep_shift: the family's, by the number of tokens.
        options: of the stock pipeline's call: embeddings, guidance, callback.
    """
    rows, columns = latents.shape[-2:]
    patch = family.size_step // family.factor
    parts: dict[str, Any] = {}
    windows = guidance = None
    if stage.window:
        side = stage.window * patch
        tokens = [min(side, length) // patch for length in (rows, columns)]
        windows = Windows(side, math.prod(tokens), str(stage.grid), seed)
        # Each window is a picture of its own, so that the noise levels are those of its size.
        parts["scheduler"] = _shifted(pipeline.scheduler, timestep_shift(math.prod(tokens)))
    if stage.low_bands != "off":
        assert stage.wavelet and stage.low_bands_weight
        guidance = WaveletGuidance(
            latents,
            max(1, round(math.log2(enlargement))),
            wavelet=stage.wavelet,
            weight=stage.low_bands_weight,
            falling=stage.low_bands == "falling",
        )
    if windows or guidance:
        parts["transformer"] = StageTransformer(
            pipeline.transformer, family, rows, columns, windows=windows, guidance=guidance
        )
    made = from_latents(
        with_parts(pipeline, family.pipeline_class, **parts),
        family,
        latents,
        steps=stage.steps,
        strength=1.0 if stage.strength is None else stage.strength,
        generator=generator,
        width=stage.width,
        height=stage.height,
        output_type="latent",
        **options,
    ).images
    return family.spatial_latents(made, stage.width, stage.height)


def _shifted(scheduler: Any, shift: float) -> Any:
    """A scheduler whose shift depends on the image's size, for one size."""
    if not scheduler.config.get("use_dynamic_shifting"):
        return scheduler
    # The pipeline interpolates between these by the image's tokens.
    mu = math.log(shift)
    return type(scheduler).from_config(scheduler.config, base_shift=mu, max_shift=mu)
