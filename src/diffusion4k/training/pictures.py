"""The training pictures as a run sees them: cached latents and text embeddings, nothing else.

The cache is completed before the transformer is loaded, and only for that the autoencoder and the
text encoders come into memory: not at all if it is complete.
"""

import sys
from pathlib import Path

from diffusion4k.data.cache import LatentCache, build_cache
from diffusion4k.data.folder import photo_folder, scan_folder
from diffusion4k.data.loader import Batch, LatentBatches
from diffusion4k.data.plan import CacheSettings
from diffusion4k.data.reader import refuse_other_build, stored_dtype
from diffusion4k.data.team import EncodingTeam
from diffusion4k.data.uncached import UncachedLatents, cache_captions
from diffusion4k.errors import UsageError
from diffusion4k.families import Family
from diffusion4k.support.wording import counted
from diffusion4k.training.engine.engine import Engine
from diffusion4k.training.preview import encode_prompts
from diffusion4k.training.recipe.recipe import Recipe

__all__ = ["check_count", "complete_cache", "training_batches", "validation_batches"]


def complete_cache(
    recipe: Recipe, family: Family, model: Path, engine: Engine, *, skip_bad: bool
) -> LatentCache | UncachedLatents:
    """Compute what the cache lacks, each process a share of it, and the validation prompts.

    Without photographs in the recipe, or with a cache at an address, the cache stays as it is; with
    `uncached` it holds captions only.

    Raises:
        Diffusion4kError: a broken photograph, unless `skip_bad`, or another reason in the data.
    """
    cache_folder = recipe.cache_folder
    # An existing cache keeps its dtype: another one would mean encoding everything again.
    dtype = recipe.cache_dtype or (
        "float16" if isinstance(cache_folder, str) else stored_dtype(cache_folder)
    )
    if recipe.data is None or isinstance(cache_folder, str):
        LatentCache(cache_folder).require(model=model, family=family, **recipe.stored)
    elif recipe.uncached:
        photos = scan_folder(photo_folder(recipe.data)).usable(skip_bad=skip_bad)
        settings = CacheSettings(model, family, flip=True, dtype=dtype, **recipe.stored)
        if engine.is_main:
            cache_captions(photos, settings, cache_folder, engine.device)
    else:
        scan = scan_folder(photo_folder(recipe.data))
        photos = scan.usable(skip_bad=skip_bad)
        refuse_other_build(
            cache_folder, model=model, family=family, dtype=recipe.cache_dtype, **recipe.stored
        )
        report = build_cache(
            photos,
            model=model,
            family=family,
            cache=cache_folder,
            flip=recipe.flip,
            dtype=dtype,
            skip_bad=skip_bad,
            device=engine.device,
            team=EncodingTeam(engine.rank, engine.world, engine.wait),
            **recipe.stored,
        )
        skipped = len(scan.problems) + report.absent
        if skipped and engine.is_main:
            total = report.computed + report.reused
            print(
                f"{counted(skipped, 'photograph')} skipped, {total} used",
                file=sys.stderr,
                flush=True,
            )
    if engine.is_main and recipe.validation.prompts and recipe.validation.every:
        encode_prompts(recipe, family, model, engine.device)
    engine.wait()
    if recipe.uncached and recipe.data is not None and not isinstance(cache_folder, str):
        return UncachedLatents(photos, settings, cache_folder, engine.device)
    return LatentCache(cache_folder)


def check_count(recipe: Recipe, count: int, processes: int, source: str | Path) -> None:
    """Refuse fewer photographs than all processes take in a step.

    Raises:
        UsageError: names the `source` of so few.
    """
    batch = recipe.batch_size * recipe.gradient_accumulation * processes
    if batch > count:
        raise UsageError(
            f"{source}: {counted(count, 'photograph')}, fewer than the {batch} of a step "
            "(batch_size x gradient_accumulation x processes): lower one of these, or add some"
        )


def training_batches(
    recipe: Recipe, cache: LatentCache | UncachedLatents, processes: int = 1
) -> LatentBatches:
    """The recipe's batches, each a function of step, micro-batch and process.

    Raises:
        UsageError: fewer photographs than all processes take in a step, or see `LatentBatches`.
    """
    check_count(recipe, len(cache), processes, recipe.cache_folder)
    return LatentBatches(
        cache,
        batch_size=recipe.batch_size,
        crop=recipe.crop_size,
        seed=recipe.seed,
        flip=recipe.flip,
        caption_dropout=recipe.caption_dropout,
        gradient_accumulation=recipe.gradient_accumulation,
    )


def validation_batches(recipe: Recipe, cache: LatentCache | UncachedLatents) -> list[Batch]:
    """The fixed pictures of the validation loss, as they are and with their captions.

    One batch; with aspect buckets one for each size among them.
    """
    wanted = recipe.validation
    batches = LatentBatches(cache, batch_size=1, crop=recipe.crop_size, seed=wanted.seed)
    return batches.first(wanted.samples)
