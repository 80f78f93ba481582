"""An image in stages: a draft from noise, then each stage from the picture of the one before.

Between stages the picture goes through pixels, of 8 bits each: it is decoded, enlarged by Lanczos
and encoded again, at the factor of the next stage. So a run that continues from the file of a
finished stage gives the same bits as one that was never stopped.
"""

import hashlib
import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from diffusion4k.data.pixels import normalised
from diffusion4k.families.base import Family
from diffusion4k.sampling.denoising import Denoising, denoising
from diffusion4k.sampling.direct import from_noise, out_of_memory
from diffusion4k.sampling.image_to_image import enlarge, from_latents, with_parts
from diffusion4k.sampling.kept import KeptStages
from diffusion4k.sampling.replaced_bands import with_low_bands
from diffusion4k.sampling.request import SamplingSettings
from diffusion4k.sampling.shift import with_shift
from diffusion4k.sampling.solver import dpm_solver
from diffusion4k.sampling.stages import Stage
from diffusion4k.sampling.step_cache import GRID_STEPS
from diffusion4k.sampling.wavelet_guidance import WaveletGuidance
from diffusion4k.sampling.windows import StageTransformer, Windows

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline, ModelMixin

    from diffusion4k.sampling.sampler import Sampler

__all__ = ["denoise_stages", "refine", "stage_latents", "stage_seed", "stage_strips"]


def denoise_stages(
    sampler: "Sampler",
    settings: SamplingSettings,
    stages: tuple[Stage, ...],
    on_step: Callable[[], None] | None = None,
    on_stage: Callable[[int], None] | None = None,
    kept: KeptStages | None = None,
) -> tuple[Tensor, NDArray[np.uint8] | None]:
    """The normalised latents `(1, C, h, w)` of the last stage, and the picture of the one before.

    Args:
        on_stage: called with the number of each stage that begins, from 0.
        kept: where the pictures of finished stages are; the last one there is continued from.
    """
    for stage in stages:  # Before the minutes that sampling takes.
        family, pipeline = sampler.at_factor(stage.factor)
        max_memory = sampler.placement.max_memory
        family.check_decode_memory(pipeline.vae, stage.width, stage.height, max_memory)
    newest = kept.newest() if kept else None
    first, picture = (newest[0] + 1, newest[1]) if newest else (0, None)
    latents: Tensor | None = None
    for number, stage in enumerate(stages[first:], first):
        if latents is not None:
            before = stages[number - 1]
            picture = np.concatenate(list(stage_strips(sampler, before, latents, picture)))
            if kept:
                kept.write(number - 1, picture)
        if on_stage:
            on_stage(number)
        with out_of_memory(stage.width, stage.height, sampler.device):
            latents = _denoise_stage(sampler, settings, number, stage, picture, on_step)
    assert latents is not None
    return latents, picture


def stage_strips(
    sampler: "Sampler", stage: Stage, latents: Tensor, before: NDArray[np.uint8] | None
) -> Iterator[NDArray[np.uint8]]:
    """The picture of a stage in strips of rows from the top, `(rows, width, 3)` each.

    `before` is that of the stage before, whose low sub-bands it may have; None for the draft.
    """
    strips = sampler.decode(latents, stage.factor, stage.width, stage.height)
    if before is None or stage.low_bands != "replaced":
        return strips
    assert stage.wavelet and stage.low_bands_weight
    enlarged = enlarge(before, stage.width, stage.height)
    levels = _levels(stage, _enlargement(stage, before))
    return with_low_bands(strips, enlarged, levels, stage.wavelet, stage.low_bands_weight)


def _denoise_stage(
    sampler: "Sampler",
    settings: SamplingSettings,
    number: int,
    stage: Stage,
    picture: NDArray[np.uint8] | None,
    on_step: Callable[[], None] | None,
) -> Tensor:
    """The latents of one stage; `picture` is that of the stage before, None for the draft."""
    family, pipeline = sampler.at_stage(stage)
    seed = stage_seed(settings.seed, number)
    generator = torch.Generator().manual_seed(seed)
    options = sampler.call_arguments(settings, stage.guidance, on_step, stage)
    size = stage.width, stage.height
    with denoising(
        sampler,
        settings,
        pipeline,
        family,
        stage.guidance,
        steps=stage.steps_made,
        schedule_steps=stage.steps,
    ) as around:
        if picture is None:
            sampler.placement.before_denoising(pipeline)
            pipeline = around.pipeline_for(*size)
            return from_noise(pipeline, family, *size, stage.steps, generator, **options)
        max_memory = sampler.placement.max_memory
        latents = stage_latents(family, pipeline.vae, picture, stage, generator, max_memory)
        sampler.placement.before_denoising(pipeline)
        return refine(
            pipeline,
            family,
            latents,
            stage,
            enlargement=_enlargement(stage, picture),
            seed=seed,
            generator=generator,
            timestep_shift=lambda tokens: family.timestep_shift(
                sampler.folder, tokens, stage.steps
            ),
            around=around,
            **options,
        )


def _enlargement(stage: Stage, before: NDArray[np.uint8]) -> float:
    return max(stage.width, stage.height) / max(before.shape[:2])


def _levels(stage: Stage, enlargement: float) -> int:
    """Levels of the wavelet transform whose lowest sub-band is what the picture before shows."""
    return max(1, round(math.log2(enlargement))) + (stage.further_levels or 0)


def stage_seed(seed: int, number: int) -> int:
    """Seed of the random numbers of a stage; the draft, number 0, has the image's."""
    if number == 0:
        return seed
    return int(hashlib.sha256(f"{seed} stage {number}".encode()).hexdigest()[:15], 16)


def stage_latents(
    family: Family,
    autoencoder: "ModelMixin",
    picture: NDArray[np.uint8],
    stage: Stage,
    generator: torch.Generator,
    max_memory: int | None,
) -> Tensor:
    """Normalised latents `(1, C, h, w)` of a picture `(H, W, 3)`, enlarged to the stage's size."""
    image = normalised(enlarge(picture, stage.width, stage.height))
    image = image.to(autoencoder.device, autoencoder.dtype)
    return family.draw_latents(autoencoder, image, generator, max_memory)


def refine(
    pipeline: "DiffusionPipeline",
    family: Family,
    latents: Tensor,
    stage: Stage,
    *,
    enlargement: float,
    seed: int,
    generator: torch.Generator,
    timestep_shift: Callable[[int], float],
    around: Denoising | None = None,
    **options: object,
) -> Tensor:
    """The latents of a stage, `(1, C, h, w)` normalised, from those of the enlarged picture.

    Args:
        pipeline: the family's stock pipeline, at the stage's factor.
        enlargement: longer side of the stage over that of the picture.
        seed: of the grid of windows.
        generator: of the noise.
        timestep_shift: the family's, by the number of tokens.
        around: how guidance is made and what is kept between steps; None: in the usual way.
        options: of the stock pipeline's call: embeddings, guidance, callback.
    """
    rows, columns = latents.shape[-2:]
    patch = family.size_step // family.factor
    parts: dict[str, object] = {}
    # A cache of whole predictions does not mind how windows lie.
    cache = around.cache if around and around.cache and around.cache.is_inside_blocks else None
    windows = guidance = shift = None
    side = stage.window * patch if stage.window else max(rows, columns)
    tokens = math.prod(min(side, length) // patch for length in (rows, columns))
    if pipeline.scheduler.config.get("use_dynamic_shifting"):
        # Each window is a picture of its own, so that the noise levels are those of its size.
        shift = timestep_shift(tokens)
    if stage.solver:
        parts["scheduler"] = dpm_solver(pipeline.scheduler, shift)
    elif stage.window and shift is not None:
        parts["scheduler"] = with_shift(pipeline.scheduler, shift)
    if stage.window:
        windows = Windows(side, tokens, str(stage.grid), seed, GRID_STEPS if cache else 1)
    if stage.low_bands in ("constant", "falling"):
        assert stage.wavelet and stage.low_bands_weight
        guidance = WaveletGuidance(
            latents,
            _levels(stage, enlargement),
            wavelet=stage.wavelet,
            weight=stage.low_bands_weight,
            falling=stage.low_bands == "falling",
        )
    if windows or guidance:
        parts["transformer"] = StageTransformer(
            pipeline.transformer,
            family,
            rows,
            columns,
            windows=windows,
            guidance=guidance,
            cache=cache,
        )
    if around and around.is_needed:
        inner = cast(nn.Module, parts.get("transformer", pipeline.transformer))
        parts["transformer"] = around.transformer(inner, rows, columns)
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
    return family.spatial_latents(made, pipeline.vae, stage.width, stage.height)
