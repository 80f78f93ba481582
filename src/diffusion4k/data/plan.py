"""What a cache is to hold, and which part is missing."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from torch import Tensor, nn

from diffusion4k.data.buckets import cover_size, nearest_bucket, sizes_for
from diffusion4k.data.draft import with_draft
from diffusion4k.data.fingerprint import (
    FileHashes,
    autoencoder_fingerprint,
    latents_key,
    text_encoders_fingerprint,
    text_key,
)
from diffusion4k.data.folder import Photo
from diffusion4k.data.reader import HASHES
from diffusion4k.data.shards import Shards
from diffusion4k.data.sizes import check_multiple, fitted_size, kept_size
from diffusion4k.errors import UsageError
from diffusion4k.families import Family
from diffusion4k.support.progress import track

__all__ = ["DTYPES", "CacheEntry", "CachePlan", "CacheSettings", "check_posterior", "make_plan"]

DTYPES = ("float16", "bfloat16", "float32")


@dataclass(frozen=True)
class CacheSettings:
    """All that decides, beside photographs and captions, what is stored."""

    model: Path
    family: Family
    resolution: int
    flip: bool
    dtype: str
    longest: float | None = None
    """Greatest aspect of aspect buckets; without them the shorter side is the resolution."""
    posterior: bool = False
    """Whether mean and deviation of latents are stored, to be drawn from, or the mean alone."""
    enlarge: bool = True
    """Whether photographs below the resolution are enlarged to it, or keep their own size."""
    enlargement: int | None = None
    """With it, latents of the photograph reduced and enlarged again are stored, too: see
    `draft`."""

    def __post_init__(self) -> None:
        check_multiple("resolution", self.resolution)
        sizes_for(self.family.factor, self.resolution, self.longest)  # refuses wrong aspects
        if self.dtype not in DTYPES:
            raise UsageError(f"dtype {self.dtype}: allowed are {', '.join(DTYPES)}")
        if self.posterior:
            check_posterior(self.family)
        if self.longest is not None and not self.enlarge:
            raise UsageError(
                "buckets: have one area for all photographs, so that small ones must be "
                "enlarged: leave out enlarge=false, or buckets"
            )
        if self.posterior and self.enlargement:
            raise UsageError(
                "posterior: found sample, allowed mean with a stage, for which pairs of latents "
                "are stored"
            )

    def encode(self, autoencoder: nn.Module, images: Tensor) -> Tensor:
        """What is stored of images `(B, 3, H, W)`.

        These are latents, or their mean and deviation, or theirs and the enlarged draft's.
        """
        if self.enlargement:
            return with_draft(self.family, autoencoder, images, self.enlargement)
        encode = self.family.encode_posterior if self.posterior else self.family.encode_images
        return encode(autoencoder, images)

    @cached_property
    def bucket_sizes(self) -> list[tuple[int, int]]:
        """Sizes of aspect buckets, in pixels; none without them."""
        return sizes_for(self.family.factor, self.resolution, self.longest)

    def stored_size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height in pixels at which a photograph is encoded."""
        if self.longest is None:
            fitted = fitted_size if self.enlarge else kept_size
            return fitted(width, height, self.resolution)
        sizes = self.bucket_sizes
        return cover_size(width, height, sizes[nearest_bucket(width, height, sizes)])


@dataclass(frozen=True)
class CacheEntry:
    """A photograph and the keys of what is stored of it."""

    photo: Photo
    text: str
    latents: str
    flipped: str


@dataclass(frozen=True)
class CachePlan:
    """Everything a cache is to hold."""

    settings: CacheSettings
    fingerprints: dict[str, str]
    entries: list[CacheEntry]
    empty: str
    """Key of the empty caption, which caption dropout needs."""

    def all_keys(self) -> set[str]:
        """Keys of all entries of use, including mirrored ones, needed now or not."""
        keys = {self.empty}
        for entry in self.entries:
            keys |= {entry.text, entry.latents, entry.flipped}
        return keys

    def missing_texts(self, shards: Shards) -> dict[str, str]:
        """Captions by key."""
        texts = {self.empty: ""} | {entry.text: entry.photo.text for entry in self.entries}
        return {key: text for key, text in texts.items() if key not in shards}

    def missing_latents(self, entry: CacheEntry, shards: Shards) -> list[str]:
        """Keys of a photograph's latents, and with `flip` of its mirror image's."""
        keys = [entry.latents, entry.flipped] if self.settings.flip else [entry.latents]
        return [key for key in keys if key not in shards]


def check_posterior(family: Family) -> None:
    """Refuse to draw latents where an autoencoder gives no distribution of them.

    Raises:
        UsageError: it gives none.
    """
    if not family.has_posterior:
        raise UsageError(
            f"posterior: found sample, allowed mean with {family.name} models, whose autoencoder "
            "gives latents and no distribution of them"
        )


def make_plan(
    photos: Sequence[Photo], settings: CacheSettings, cache: Path, *, progress: bool = False
) -> CachePlan:
    """Hash photographs and weights, or take from the cache's memory the hashes of unchanged files.

    Raises:
        Diffusion4kError: the model folder is incomplete.
    """
    hashes = FileHashes(cache / HASHES)
    try:
        fingerprints = {
            "text_encoders": text_encoders_fingerprint(
                settings.model, hashes, settings.family.given_text_tokens
            ),
            "autoencoder": autoencoder_fingerprint(settings.model, hashes),
        }

        def text(caption: str) -> str:
            return text_key(
                caption,
                text_encoders=fingerprints["text_encoders"],
                family=settings.family,
                dtype=settings.dtype,
            )

        def latents(photo: Photo, image: str, mirrored: bool) -> str:
            covering = settings.stored_size(photo.width, photo.height)
            return latents_key(
                image,
                autoencoder=fingerprints["autoencoder"],
                factor=settings.family.factor,
                resolution=min(covering) if settings.longest is None else covering,
                mirrored=mirrored,
                dtype=settings.dtype,
                posterior=settings.posterior,
                enlargement=settings.enlargement,
            )

        entries = []
        for photo in track(photos, len(photos), "comparing photographs", shown=progress):
            image = hashes.sha256(photo.path)
            entries.append(
                CacheEntry(
                    photo,
                    text(photo.text),
                    latents(photo, image, False),
                    latents(photo, image, True),
                )
            )
    finally:
        if cache.is_dir():
            hashes.save()
    return CachePlan(settings, fingerprints, entries, text(""))
