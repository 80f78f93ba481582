"""Reading a cache: latents and conditioning of each photograph, memory-mapped."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from diffusion4k.data.fingerprint import (
    FileHashes,
    autoencoder_fingerprint,
    text_encoders_fingerprint,
)
from diffusion4k.data.index import Index, IndexSettings
from diffusion4k.data.remote import SHARDS, LocalFiles, RemoteFiles, is_remote
from diffusion4k.data.shards import Location, ShardReader
from diffusion4k.errors import Diffusion4kError
from diffusion4k.families import Family

__all__ = ["HASHES", "SHARDS", "CachedSample", "LatentCache", "refuse_other_build", "stored_dtype"]

HASHES = "files.json"


@dataclass(frozen=True)
class CachedSample:
    """One photograph as the transformer is trained on it."""

    file_name: str
    latents: Tensor
    """`(C, h, w)`, normalised; of the stored dtype."""
    flipped: Tensor | None
    """Latents of the mirrored photograph; None if the cache was built without."""
    conditioning: dict[str, Tensor]
    """Conditioning of `Family.encode_text`, without the first axis."""


class LatentCache:
    """The last complete build of a cache folder; a build that was stopped half-way does not show.

    Attributes:
        resolution: shorter side of the photographs in pixels.
        longest: greatest aspect of its aspect buckets; None without them.
        dtype: of the stored tensors, for example `float16`.
        flip: whether every photograph is stored mirrored too.
        family, model: by which it was built.
        factor: pixels a side of one latent.
    """

    def __init__(self, cache: str | Path) -> None:
        """Open a cache: a folder, or an address such as `s3://bucket/cache` (see `remote`).

        Raises:
            Diffusion4kError: no cache there, no complete build, or shards missing or damaged.
        """
        self.path: str | Path = cache if is_remote(cache) else Path(cache)
        files = RemoteFiles(str(cache)) if is_remote(cache) else LocalFiles(Path(cache))
        self._index = Index(files.index_folder())
        settings = self._index.settings
        self.resolution: int = settings.resolution
        self.longest: float | None = settings.longest
        self.posterior: bool = settings.posterior
        """Whether latents have twice the channels: mean and deviation, from which to draw."""
        self.enlargement: int | None = settings.enlargement
        """With it, latents have twice the channels: the photograph's and the enlarged draft's."""
        self.dtype: str = settings.dtype
        self.family: str = settings.family
        self.factor: int = settings.factor
        self.model: str = settings.model
        self.flip: bool = settings.flip
        self.fingerprints: dict[str, str] = settings.fingerprints
        self._shards = ShardReader(files.shard)
        files.check(self._index.shards)

    def __len__(self) -> int:
        return len(self._index)

    @property
    def file_names(self) -> list[str]:
        """Names of the photographs, in the order of the image folder."""
        return [self.file_name(index) for index in range(len(self))]

    def file_name(self, index: int) -> str:
        """File name of a photograph."""
        return self._index.file_name(index)

    @property
    def sizes(self) -> np.ndarray:
        """Width and height of each photograph's latents, `(N, 2)` int32."""
        return self._index.sizes

    def sample(self, index: int) -> CachedSample:
        """Everything about photograph `index`.

        Raises:
            Diffusion4kError: a shard was damaged since it was written.
        """
        flipped = self._index.latents(index, flipped=True)
        return CachedSample(
            self.file_name(index),
            self.latents(index),
            self._shards.read(flipped) if flipped else None,
            self.conditioning(index),
        )

    def latents(self, index: int, *, flipped: bool = False) -> Tensor:
        """Latents `(C, h, w)` of a photograph or its mirror image, in mapped memory.

        Only a part that is copied is read from the disk.
        """
        location = self._index.latents(index, flipped=flipped)
        assert location, "no mirrored photographs"
        return self._shards.read(location)

    def latents_size(self, index: int) -> tuple[int, int]:
        """Width and height of a photograph's latents."""
        location = self._index.latents(index)
        assert location
        _, height, width = location.shape
        return width, height

    def conditioning(self, index: int) -> dict[str, Tensor]:
        """Conditioning of a photograph's caption."""
        return self._read(self._index.conditioning(index))

    @property
    def empty_conditioning(self) -> dict[str, Tensor]:
        """Conditioning of the empty caption, for caption dropout."""
        return self._read(self._index.conditioning(None))

    def checksums(self, index: int) -> tuple[str, str]:
        """Checksums of a photograph's latents (with its mirror image's) and of its conditioning."""
        latents = [self._index.latents(index, flipped=flipped) for flipped in (False, True)]
        parts = self._index.conditioning(index)
        return (
            "".join(f"{place.checksum:08x}" for place in latents if place),
            "".join(f"{parts[name].checksum:08x}" for name in sorted(parts)),
        )

    def checksum(self) -> str:
        """Checksum of all names and tensors: equal for equal content, however it is sharded."""
        digest = hashlib.sha256(f"{self.dtype} {self.resolution} {self.longest}".encode())
        for index in range(len(self)):
            places = [self._index.latents(index, flipped=flipped) for flipped in (False, True)]
            captions = self._index.conditioning(index)
            stored = [place.checksum for place in (*places, *captions.values()) if place]
            digest.update(f"{self.file_name(index)} {stored}\n".encode())
        return digest.hexdigest()[:16]

    def require(
        self,
        *,
        model: Path,
        family: Family,
        resolution: int,
        longest: float | None = None,
        posterior: bool = False,
        enlarge: bool = True,
        enlargement: int | None = None,
    ) -> None:
        """Refuse a cache of another model, resolution, other aspect buckets or other latents.

        Raises:
            Diffusion4kError: says what was found, what was expected, and what to do.
        """
        _require(
            self.path,
            self._index.settings,
            model=model,
            family=family,
            resolution=resolution,
            longest=longest,
            posterior=posterior,
            enlarge=enlarge,
            enlargement=enlargement,
        )

    def _read(self, locations: dict[str, Location]) -> dict[str, Tensor]:
        return {name: self._shards.read(location) for name, location in locations.items()}


def stored_dtype(folder: Path) -> str:
    """Type of the cache in a folder, or `float16` where there is none yet."""
    try:
        return Index(folder).settings.dtype
    except Diffusion4kError:
        return "float16"


def refuse_other_build(
    folder: Path,
    *,
    model: Path,
    family: Family,
    resolution: int,
    longest: float | None = None,
    posterior: bool = False,
    enlarge: bool = True,
    enlargement: int | None = None,
    dtype: str | None = None,
) -> None:
    """Refuse to fill a folder whose last complete build is of something else: it would be deleted.

    No build there, or a damaged one, will do; so will any dtype where none is given.

    Raises:
        Diffusion4kError: as `LatentCache.require`.
    """
    try:
        settings = Index(folder).settings
    except Diffusion4kError:
        return
    if dtype and settings.dtype != dtype:
        raise Diffusion4kError(
            f"{folder}: dtype of this cache: found {settings.dtype}, expected {dtype}: leave "
            "out cache_dtype to use it as it is, or give another cache folder"
        )
    _require(
        folder,
        settings,
        model=model,
        family=family,
        resolution=resolution,
        longest=longest,
        posterior=posterior,
        enlarge=enlarge,
        enlargement=enlargement,
    )


def _require(
    path: str | Path,
    settings: IndexSettings,
    *,
    model: Path,
    family: Family,
    resolution: int,
    longest: float | None,
    posterior: bool,
    enlarge: bool,
    enlargement: int | None,
) -> None:
    hashes = FileHashes(Path(path) / HASHES)
    fingerprints = settings.fingerprints
    for what, found, expected in (
        ("family", settings.family, family.name),
        ("factor", settings.factor, family.factor),
        ("resolution", settings.resolution, resolution),
        ("greatest aspect of buckets", settings.longest, longest),
        ("posterior", _drawn(settings.posterior), _drawn(posterior)),
        ("enlarge", settings.enlarge, enlarge),
        ("enlargement of the stage", settings.enlargement, enlargement),
        (
            "text encoders",
            fingerprints["text_encoders"],
            text_encoders_fingerprint(model, hashes, family.given_text_tokens),
        ),
        ("autoencoder", fingerprints["autoencoder"], autoencoder_fingerprint(model, hashes)),
    ):
        if found != expected:
            raise Diffusion4kError(
                f"{path}: {what} of this cache: found {str(found)[:12]}, expected "
                f"{str(expected)[:12]}: give another cache folder, or build this one again for "
                f"{model} at {resolution} with `diffusion4k cache`"
            )


def _drawn(posterior: bool) -> str:
    return "sample" if posterior else "mean"
