"""Latents of photographs that no cache holds: decoded and encoded as training asks for them.

For collections too large to be encoded once, or a first look at one. Captions are encoded before
the training (they are small, and the text encoders are not), photographs are decoded by threads a
step ahead, and the autoencoder stays in memory. It gives what a cache of float16 would give;
of JPEGs four times as large as wanted or more, decoded smaller, nearly so.
"""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from diffusion4k.data.encode import encode_texts
from diffusion4k.data.fingerprint import FileHashes, text_encoders_fingerprint, text_key
from diffusion4k.data.folder import Photo
from diffusion4k.data.images import open_rgb
from diffusion4k.data.pixels import to_tensor
from diffusion4k.data.plan import CacheEntry, CachePlan, CacheSettings
from diffusion4k.data.reader import HASHES
from diffusion4k.data.remote import SHARDS
from diffusion4k.data.shards import SHARD_BYTES, ShardReader, Shards

__all__ = ["UncachedLatents", "cache_captions", "decoded"]

_THREADS = 4
_REDUCED = 2  # A JPEG is decoded smaller as long as it stays this much larger than what is stored.


class UncachedLatents:
    """The part of `LatentCache` that `LatentBatches` asks for, without stored latents.

    With `posterior` in the settings latents have twice the channels: mean and deviation.
    """

    flip = True

    def __init__(
        self,
        photos: Sequence[Photo],
        settings: CacheSettings,
        folder: Path,
        device: torch.device | str,
    ) -> None:
        """After `cache_captions` with the same arguments; the autoencoder is loaded at once."""
        self.path, self._photos, self._settings = folder, photos, settings
        self.factor, self.resolution = settings.family.factor, settings.resolution
        self.longest, self.posterior = settings.longest, settings.posterior
        self.enlargement = settings.enlargement
        pixels = [settings.stored_size(photo.width, photo.height) for photo in photos]
        self.sizes = np.array(pixels, np.int32) // self.factor
        plan = _captions_plan(photos, settings, folder)
        self._texts, self._empty = [entry.text for entry in plan.entries], plan.empty
        self._located = Shards(folder / SHARDS)
        self._shards = ShardReader(lambda name: folder / SHARDS / name)
        self._device = torch.device(device)
        self._autoencoder = settings.family.load_autoencoder(
            settings.model, dtype=torch.float32
        ).to(self._device)
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="decode")
        self._ahead: dict[int, Future[Tensor]] = {}
        # A photograph may come twice in a step: at the end of an epoch, or in a small bucket.
        self._latents = lru_cache(maxsize=4)(self._encode)

    def __len__(self) -> int:
        return len(self._photos)

    def file_name(self, index: int) -> str:
        """File name of a photograph."""
        return self._photos[index].file_name

    def latents_size(self, index: int) -> tuple[int, int]:
        """Width and height of a photograph's latents."""
        width, height = self.sizes[index].tolist()
        return width, height

    def prefetch(self, indices: Sequence[int]) -> None:
        """Begin to decode photographs that are needed next."""
        # Decoded photographs that were not needed (their latents still existed) are let go.
        self._ahead = {i: picture for i, picture in self._ahead.items() if i in indices}
        for index in indices:
            if index not in self._ahead:
                self._ahead[index] = self._pool.submit(self._decode, index)

    def latents(self, index: int, *, flipped: bool = False) -> Tensor:
        """Latents `(C, h, w)` float16 of a photograph, or of its mirror image.

        Raises:
            Diffusion4kError: it cannot be decoded.
        """
        return self._latents(index, flipped)

    def conditioning(self, index: int) -> dict[str, Tensor]:
        """Conditioning of a photograph's caption."""
        return self._read(self._texts[index])

    @property
    def empty_conditioning(self) -> dict[str, Tensor]:
        """Conditioning of the empty caption, for caption dropout."""
        return self._read(self._empty)

    def _read(self, key: str) -> dict[str, Tensor]:
        return {name: self._shards.read(at) for name, at in self._located.locate(key).items()}

    def _decode(self, index: int) -> Tensor:
        photo = self._photos[index]
        return decoded(photo.path, self._settings.stored_size(photo.width, photo.height))

    @torch.no_grad()
    def _encode(self, index: int, flipped: bool) -> Tensor:
        begun = self._ahead.pop(index, None)
        picture = begun.result() if begun else self._decode(index)
        picture = (picture.flip(-1) if flipped else picture).to(self._device)
        latents = self._settings.encode(self._autoencoder, picture)[0]
        return latents.cpu().half()


def decoded(path: Path, size: tuple[int, int]) -> Tensor:
    """A photograph as `to_tensor` gives it; of a JPEG no more is decoded than such a size needs.

    Raises:
        Diffusion4kError: it cannot be decoded.
    """
    width, height = size
    return to_tensor(open_rgb(path, at_least=(_REDUCED * width, _REDUCED * height)), size)


def cache_captions(
    photos: Sequence[Photo], settings: CacheSettings, folder: Path, device: torch.device
) -> None:
    """Encode the captions that the shards in `folder` lack."""
    plan = _captions_plan(photos, settings, folder)
    (folder / SHARDS).mkdir(parents=True, exist_ok=True)
    encode_texts(plan, folder / SHARDS, device, SHARD_BYTES, True)


def _captions_plan(photos: Sequence[Photo], settings: CacheSettings, folder: Path) -> CachePlan:
    hashes = FileHashes(folder / HASHES)
    fingerprint = text_encoders_fingerprint(
        settings.model, hashes, settings.family.given_text_tokens
    )

    def key(caption: str) -> str:
        return text_key(
            caption, text_encoders=fingerprint, family=settings.family, dtype=settings.dtype
        )

    entries = [CacheEntry(photo, key(photo.text), "", "") for photo in photos]
    return CachePlan(settings, {"text_encoders": fingerprint}, entries, key(""))
