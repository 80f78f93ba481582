"""The cache: text embeddings and latents of an image folder, computed once.

    CACHE/shards/*.safetensors   tensors by key (see `fingerprint`), each shard whole or absent
    CACHE/index.json, *.npy      the last complete build (see `index`)
    CACHE/files.json             hashes of files by path, size and time, to save time

A build computes what no shard holds. Killed at any moment, it leaves the last complete build
readable and continues where it was; shards that nothing refers to are removed at its end.
"""

import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import torch

from diffusion4k.data.encode import encode_photos, encode_texts
from diffusion4k.data.folder import Photo
from diffusion4k.data.index import INDEX, SampleKeys, write_index
from diffusion4k.data.plan import CachePlan, CacheSettings, make_plan
from diffusion4k.data.problems import Problem
from diffusion4k.data.reader import SHARDS, CachedSample, LatentCache
from diffusion4k.data.shards import SHARD_BYTES, Shards, remove_leftovers, remove_unused
from diffusion4k.data.team import ALONE, EncodingTeam
from diffusion4k.errors import Diffusion4kError
from diffusion4k.families import Family
from diffusion4k.support.devices import usable_device
from diffusion4k.support.files import writing
from diffusion4k.support.lock import locked

__all__ = [
    "CacheReport",
    "CachedSample",
    "LatentCache",
    "MissingLatents",
    "build_cache",
    "missing",
]


@dataclass(frozen=True)
class CacheReport:
    """What a build did, by all processes of its team; counts are photographs."""

    computed: int
    """Encoded in this build: image, caption or both."""
    reused: int
    """Found complete."""
    skipped: list[Problem] = field(default_factory=list)
    """Photographs skipped by this process."""
    absent: int = 0
    """Skipped by all processes."""
    enlarged: int = 0
    """Number of stored photographs with a shorter side below the resolution."""


@dataclass(frozen=True)
class MissingLatents:
    """What a build would compute."""

    texts: int
    photos: int

    def __bool__(self) -> bool:
        return bool(self.texts or self.photos)


def build_cache(
    photos: Sequence[Photo],
    *,
    model: Path,
    family: Family,
    cache: Path,
    resolution: int,
    flip: bool = False,
    dtype: str = "float16",
    longest: float | None = None,
    posterior: bool = False,
    enlarge: bool = True,
    enlargement: int | None = None,
    skip_bad: bool = False,
    device: str | torch.device | None = None,
    shard_bytes: int = SHARD_BYTES,
    progress: bool = True,
    team: EncodingTeam = ALONE,
) -> CacheReport:
    """Make the folder `cache` hold exactly `photos`, computing what it lacks.

    Text encoders and autoencoder are loaded only if something is missing that they make, one
    after the other. Latents are computed in float32, on GPUs with convolutions as torch has them
    there (TF32).

    Args:
        model: local folder of the model, of the family `family`.
        resolution: shorter side in pixels at which photographs are encoded, a multiple of 32.
        flip: encode every photograph mirrored too.
        dtype: of the stored tensors: float16, bfloat16 or float32.
        longest: greatest aspect of aspect buckets of about `resolution` squared pixels: every
            photograph is encoded just large enough to cover its own (see `buckets`).
        posterior: store mean and deviation of latents, from which batches draw them.
        enlarge: photographs below the resolution to it; else they keep their own size.
        enlargement: store pairs of latents: the photograph's, and those of it reduced and enlarged
            so many times (see `draft`).
        skip_bad: leave out, and report by name, photographs that cannot be decoded.
        device: where to compute; by default the GPU if there is one.
        shard_bytes: size at which a shard is closed; two minutes of work close one, too.
        team: processes that all call this, with the same arguments but for `team` and `device`.

    Raises:
        UsageError: a resolution, dtype or device that is not allowed.
        Diffusion4kError: a broken photograph, model or disk; another build at work in `cache`.
    """
    settings = CacheSettings(
        model, family, resolution, flip, dtype, longest, posterior, enlarge, enlargement
    )
    encoding_device = usable_device(device)
    shards = cache / SHARDS
    busy = "another process is building this cache: wait for it, or choose another folder"
    bar = progress and team.is_main
    with locked(cache, other="cache folder", busy=busy) if team.is_main else nullcontext():
        plan = None
        if team.is_main:
            shards.mkdir(exist_ok=True)
            for folder in (cache, shards):
                remove_leftovers(folder)
            for path in Shards(shards).damaged:
                print(f"{path}: damaged, computed again", file=sys.stderr, flush=True)
                path.unlink()
            # The others then find the hashes of all files in the cache's memory.
            plan = make_plan(photos, settings, cache, progress=progress)
        team.wait()
        plan = plan or make_plan(photos, settings, cache)
        before = Shards(shards)
        incomplete = {
            entry.photo.file_name
            for entry in plan.entries
            if entry.text not in before or plan.missing_latents(entry, before)
        }
        team.wait()  # Nobody writes before all have seen what is there.
        encode_texts(plan, shards, encoding_device, shard_bytes, bar, team)
        skipped = encode_photos(plan, shards, encoding_device, shard_bytes, bar, skip_bad, team)
        team.wait()
        after = Shards(shards)
        absent = sum(bool(plan.missing_latents(entry, after)) for entry in plan.entries)
        team.wait()
        if team.is_main:
            _write_index(plan, cache)
            remove_unused(shards, plan.all_keys())
    return CacheReport(
        computed=len(incomplete) - absent,
        reused=len(plan.entries) - len(incomplete),
        skipped=skipped,
        absent=absent,
        enlarged=sum(_is_enlarged(photo, settings) for photo in photos),
    )


def missing(
    photos: Sequence[Photo],
    *,
    model: Path,
    family: Family,
    cache: Path,
    resolution: int,
    flip: bool = False,
    dtype: str = "float16",
) -> MissingLatents:
    """What `build_cache` with these arguments would compute; false if nothing.

    Raises:
        UsageError: a resolution or dtype that is not allowed.
        Diffusion4kError: the model folder is incomplete.
    """
    plan = make_plan(photos, CacheSettings(model, family, resolution, flip, dtype), cache)
    shards = Shards(cache / SHARDS)
    return MissingLatents(
        texts=len(plan.missing_texts(shards)),
        photos=sum(bool(plan.missing_latents(entry, shards)) for entry in plan.entries),
    )


def _is_enlarged(photo: Photo, settings: CacheSettings) -> bool:
    width, height = settings.stored_size(photo.width, photo.height)
    return width > photo.width or height > photo.height


def _write_index(plan: CachePlan, cache: Path) -> None:
    """Make the photographs that are wholly there the readable state of the cache."""
    shards, settings = Shards(cache / SHARDS), plan.settings
    samples = [
        SampleKeys(
            entry.photo.file_name,
            entry.text,
            entry.latents,
            entry.flipped if entry.flipped in shards else None,
        )
        for entry in plan.entries
        if not plan.missing_latents(entry, shards)
    ]
    if not samples:
        raise Diffusion4kError(f"{cache}: no usable photograph is left to build it from")
    about = {
        "family": settings.family.name,
        "factor": settings.family.factor,
        "model": str(settings.model),
        "resolution": settings.resolution,
        "longest": settings.longest,
        "dtype": settings.dtype,
        "posterior": settings.posterior,
        "enlarge": settings.enlarge,
        "enlargement": settings.enlargement,
        "flip": all(sample.flipped for sample in samples),
        "fingerprints": plan.fingerprints,
    }
    with writing(cache / INDEX, instead="another cache folder"):
        write_index(cache, shards, samples, empty=plan.empty, settings=about)
