"""Batches of latent crops, each a function of its number.

Where the cache holds the autoencoder's posterior, latents are drawn from it again each time.

The training photographs form one endless sequence (see `sequence`; with aspect buckets one for each
of these, see `buckets`). Crop, mirroring and caption dropout are drawn for each of its positions.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor

from diffusion4k.data.buckets import BucketOrder, buckets_of, sizes_for
from diffusion4k.data.reader import LatentCache
from diffusion4k.data.sequence import EndlessSequence, Stream, places_of
from diffusion4k.data.sizes import check_multiple
from diffusion4k.data.uncached import UncachedLatents
from diffusion4k.errors import UsageError
from diffusion4k.support.wording import counted

__all__ = ["Batch", "LatentBatches"]


class Batch(TypedDict):
    """A micro-batch."""

    latents: Tensor
    """`(B, C, h, w)` float32, normalised."""
    drafts: Tensor | None
    """Latents of the enlarged draft at the same positions, if the cache has them (see `draft`)."""
    conditioning: dict[str, Tensor]
    """Conditioning of `Family.encode_text`, first axis B; floats in float32."""
    indices: Tensor
    """`(B,)` int64: which photographs of the cache."""
    places: Tensor
    """`(B,)` int64: where the samples stand in the endless sequence; no two of a run are equal."""


class LatentBatches:
    """Random crops of cached latents, on steps of one latent."""

    def __init__(
        self,
        cache: LatentCache | UncachedLatents,
        *,
        batch_size: int,
        crop: int | tuple[int, int],
        seed: int,
        flip: bool = False,
        caption_dropout: float = 0.0,
        gradient_accumulation: int = 1,
    ) -> None:
        """`crop` is the side, or width and height, in pixels; `seed` is not negative.

        `flip` takes every second crop from the mirrored photograph; `caption_dropout` is the
        share of captions replaced by the empty one; `gradient_accumulation` is the number of
        micro-batches of a step. Of a cache with aspect buckets `crop` is not asked: the pictures
        of a step, over all micro-batches and processes, have the size of one bucket.

        Raises:
            UsageError: a crop that is no multiple of 32 or larger than a photograph, or `flip`
                from a cache without mirrored photographs.
        """
        width, height = (crop, crop) if isinstance(crop, int) else crop
        check_multiple("crop width", width)
        check_multiple("crop height", height)
        self._cache, self._batch_size, self._seed = cache, batch_size, seed
        cell = cache.factor
        self._size = width // cell, height // cell
        self._flip, self._caption_dropout = flip, caption_dropout
        self._accumulation = gradient_accumulation
        if flip and not cache.flip:
            raise UsageError(
                f"{cache.path}: holds no mirrored photographs: build it with --flip, or train "
                "with flip=false"
            )
        if cache.longest is None:
            self._refuse_small(width, height)
        else:
            self._sizes = sizes_for(cell, cache.resolution, cache.longest)
            self._bucket_of = buckets_of(cache.sizes * cell, self._sizes)
            self._refuse_shapeless()
        self._sequence = EndlessSequence(len(cache), seed)
        self._order = lru_cache(maxsize=2)(self._order_of)

    def batch(self, step: int, micro: int = 0, rank: int = 0, world: int = 1) -> Batch:
        """Micro-batch `micro` of step `step` (both from 0) for process `rank` of `world`."""
        if not (0 <= micro < self._accumulation and 0 <= rank < world):
            raise ValueError(
                f"micro {micro} of {self._accumulation}, rank {rank} of {world}: out of range"
            )
        places = places_of(
            step,
            batch_size=self._batch_size,
            gradient_accumulation=self._accumulation,
            rank=rank,
            world=world,
        )[micro]
        size, indices = self._pictures(step, places, self._accumulation * world)
        if isinstance(self._cache, UncachedLatents):
            parts = self._accumulation * world
            later = range(
                places.start + parts * self._batch_size, places.stop + parts * self._batch_size
            )
            self._cache.prefetch([*indices, *self._pictures(step + 1, later, parts)[1]])
        return self._batch(places, indices, size)

    def first(self, count: int) -> list[Batch]:
        """The first `count` samples of the sequence without regard to batches, by their size.

        With aspect buckets they are of all shapes, in proportion, and a batch has those of one.
        """
        indices = [self._sequence[place] for place in range(count)]
        if self._cache.longest is None:
            return [self._batch(range(count), indices, self._size)]
        groups: dict[int, list[int]] = {}
        for place, index in enumerate(indices):
            groups.setdefault(int(self._bucket_of[index]), []).append(place)
        return [
            self._batch(places, [indices[place] for place in places], self._latents_of(bucket))
            for bucket, places in sorted(groups.items())
        ]

    def _batch(self, places: Sequence[int], indices: list[int], size: tuple[int, int]) -> Batch:
        samples = [self._sample(*each, size) for each in zip(places, indices, strict=True)]
        latents, drafts = torch.stack([latents for latents, _ in samples]), None
        if self._cache.enlargement:
            latents, drafts = latents.chunk(2, dim=1)
        return {
            "latents": latents,
            "drafts": drafts,
            "conditioning": {
                name: torch.stack([conditioning[name] for _, conditioning in samples])
                for name in samples[0][1]
            },
            "indices": torch.tensor(indices),
            "places": torch.tensor(places),
        }

    def lines(self) -> list[str]:
        """Statistics of the aspect buckets: size, photographs, and what is cropped of them."""
        if self._cache.longest is None:
            return []
        stored, rows = self._cache.sizes.astype(np.int64).prod(axis=1), []
        for bucket, (width, height) in enumerate(self._sizes):
            members = stored[self._bucket_of == bucket]
            if len(members):
                kept = width * height / self._cache.factor**2 / members.mean()
                share = len(members) / len(stored)
                rows.append(
                    f"{width}x{height}: {counted(len(members), 'photograph')} ({share:.1%}), "
                    f"{1 - kept:.1%} cropped"
                )
        return rows

    def _pictures(self, step: int, places: range, parts: int) -> tuple[tuple[int, int], list[int]]:
        """Width and height in latents, and the photographs at the positions of a step."""
        if self._cache.longest is None:
            return self._size, [self._sequence[place] for place in places]
        whole = self._batch_size * parts
        bucket, pictures = self._order(whole).step(step)
        first = places.start - step * whole
        return self._latents_of(bucket), pictures[first : first + len(places)]

    def _latents_of(self, bucket: int) -> tuple[int, int]:
        """Width and height of a bucket's pictures in latents."""
        width, height = self._sizes[bucket]
        return width // self._cache.factor, height // self._cache.factor

    def _sample(
        self, place: int, index: int, size: tuple[int, int]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        random = self._sequence.random(place)
        columns, rows = self._cache.latents_size(index)
        width, height = size
        left = int(random.integers(columns - width + 1))
        top = int(random.integers(rows - height + 1))
        mirrored, dropped = random.random(2) < (0.5, self._caption_dropout)
        latents = self._cache.latents(index, flipped=bool(mirrored and self._flip))
        latents = latents[:, top : top + height, left : left + width].float()
        if self._cache.posterior:
            mean, deviation = latents.chunk(2)
            noise = self._sequence.random(place, Stream.POSTERIOR)
            drawn = noise.standard_normal(mean.shape, dtype=np.float32)
            latents = mean + deviation * torch.from_numpy(drawn)
        conditioning = (
            self._cache.empty_conditioning if dropped else self._cache.conditioning(index)
        )
        return latents, {k: _float32(v) for k, v in conditioning.items()}

    def _refuse_small(self, width: int, height: int) -> None:
        too_small = (self._cache.sizes < self._size).any(axis=1)
        if too_small.any():
            index = int(too_small.argmax())
            columns, rows = self._cache.latents_size(index)
            cell = self._cache.factor
            raise UsageError(
                f"crop {width}x{height}: larger than {self._cache.file_name(index)}, cached at "
                f"{columns * cell}x{rows * cell}: choose a smaller crop, a cache of a "
                "higher resolution, or leave the photograph out"
            )

    def _refuse_shapeless(self) -> None:
        outside = self._bucket_of < 0
        if outside.any():
            name = self._cache.file_name(int(outside.argmax()))
            raise UsageError(
                f"{self._cache.path}: {name} covers none of the aspect buckets up to "
                f"{self._cache.longest}:1: build the cache again with --buckets"
            )

    def _order_of(self, batch: int) -> BucketOrder:
        return BucketOrder(self._bucket_of.tolist(), batch=batch, seed=self._seed)


def _float32(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor
