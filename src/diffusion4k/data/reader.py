"""Reading a cache: latents and conditioning of each photograph, memory-mapped."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from diffusion4k.data.fingerprint import (
    FORMAT,
    FileHashes,
    autoencoder_fingerprint,
    text_encoders_fingerprint,
)
from diffusion4k.data.shards import Shards
from diffusion4k.errors import Diffusion4kError
from diffusion4k.families import Family

__all__ = ["HASHES", "INDEX", "SHARDS", "CachedSample", "LatentCache"]

INDEX = "index.json"
SHARDS = "shards"
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
    """As `Family.encode_text` gives it, without the first axis."""


class LatentCache:
    """The last complete build of a cache folder; a build that was stopped half-way does not show.

    Attributes:
        resolution: shorter side of the photographs in pixels.
        dtype: of the stored tensors, for example `float16`.
        flip: whether every photograph is stored mirrored too.
        family, model: by which it was built.
        factor: pixels a side of one latent.
        file_names: of the photographs, in the order of the image folder.
    """

    def __init__(self, cache: str | Path) -> None:
        """Open a cache.

        Raises:
            Diffusion4kError: no cache there, no complete build, or shards missing or damaged.
        """
        cache = Path(cache)
        index = _read_index(cache / INDEX)
        self.path = cache
        self.resolution: int = index["resolution"]
        self.dtype: str = index["dtype"]
        self.family: str = index["family"]
        self.factor: int = index.get("factor", 16)
        self.model: str = index["model"]
        self.fingerprints: dict[str, str] = index["fingerprints"]
        self._empty: str = index["empty"]
        self._samples: list[dict[str, Any]] = index["samples"]
        self.flip = all(sample["flipped"] for sample in self._samples)
        self.file_names: list[str] = [sample["file_name"] for sample in self._samples]
        self._shards = Shards(cache / SHARDS)
        self._check_complete()

    def __len__(self) -> int:
        return len(self._samples)

    def sample(self, index: int) -> CachedSample:
        """Everything about photograph `index`.

        Raises:
            Diffusion4kError: a shard was damaged since it was written.
        """
        return CachedSample(
            self.file_names[index],
            self.latents(index),
            self.latents(index, flipped=True) if self._samples[index]["flipped"] else None,
            self.conditioning(index),
        )

    def latents(self, index: int, *, flipped: bool = False) -> Tensor:
        """Latents `(C, h, w)` of a photograph, or of its mirror image."""
        return self._shards.read(self._samples[index]["flipped" if flipped else "latents"])[
            "latents"
        ]

    def latents_size(self, index: int) -> tuple[int, int]:
        """Width and height of a photograph's latents, from the header alone."""
        _, height, width = self._shards.shape(self._samples[index]["latents"], "latents")
        return width, height

    def conditioning(self, index: int) -> dict[str, Tensor]:
        """Conditioning of a photograph's caption."""
        return self._shards.read(self._samples[index]["text"])

    @property
    def empty_conditioning(self) -> dict[str, Tensor]:
        """Conditioning of the empty caption, for caption dropout."""
        return self._shards.read(self._empty)

    def require(self, *, model: Path, family: Family, resolution: int) -> None:
        """Refuse a cache of another model or resolution.

        Raises:
            Diffusion4kError: says what was found, what was expected, and what to do.
        """
        hashes = FileHashes(self.path / HASHES)
        for what, found, expected in (
            ("family", self.family, family.name),
            ("factor", self.factor, family.factor),
            ("resolution", self.resolution, resolution),
            (
                "text encoders",
                self.fingerprints["text_encoders"],
                text_encoders_fingerprint(model, hashes),
            ),
            (
                "autoencoder",
                self.fingerprints["autoencoder"],
                autoencoder_fingerprint(model, hashes),
            ),
        ):
            if found != expected:
                raise Diffusion4kError(
                    f"{self.path}: {what} of this cache: found {str(found)[:12]}, expected "
                    f"{str(expected)[:12]}: build it again for {model} at {resolution}, or give "
                    "the folder of the right cache"
                )

    def _check_complete(self) -> None:
        keys = [self._empty]
        for sample in self._samples:
            keys += [sample["latents"], sample["text"]]
            keys += [sample["flipped"]] if sample["flipped"] else []
        missing = [key for key in keys if key not in self._shards]
        if missing:
            damaged = self._shards.damaged
            why = f"{damaged[0]} is damaged" if damaged else "shards were removed"
            raise Diffusion4kError(
                f"{self.path}: {len(missing)} of {len(keys)} entries are missing, as {why}: "
                "build the cache again, the rest is kept"
            )


def _read_index(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise Diffusion4kError(
            f"{path.parent}: no complete cache ({INDEX} is missing): build it with "
            "`diffusion4k cache`; a build that was stopped goes on where it was"
        )
    try:
        index = json.loads(path.read_bytes())
    except ValueError as error:
        raise Diffusion4kError(
            f"{path}: not valid JSON ({error}): delete it and build the cache again, "
            "the shards are kept"
        ) from None
    if not isinstance(index, dict) or index.get("format") != FORMAT:
        found = index.get("format") if isinstance(index, dict) else None
        raise Diffusion4kError(
            f"{path}: cache format {found}, this version reads {FORMAT}: build the cache again"
        )
    return index
