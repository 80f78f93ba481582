"""What is kept of a picture to find its duplicates: a few KiB, as columns of a table."""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diffusion4k.curation.duplicates.thumbnail import thumbnail_of, to_jpeg
from diffusion4k.curation.duplicates.windows import windows_of

__all__ = ["Fingerprint", "fingerprint", "pixel_hash"]

_UNIT = 1 / 32  # of a stored place, in pixels of the thumbnail
_ROW = np.dtype([("hash", "<u8", 2), ("place", "<u2", 4)])


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """Pixel hash, perceptual hashes with their positions, and thumbnail of one picture."""

    pixel_hash: str
    hashes: NDArray[np.uint64]
    """`(n, 2)`: 128 bits of the whole picture and of windows in it; none of a flat picture."""
    places: NDArray[np.float32]
    """`(n, 4)`: x, y, half width, half height in pixels of the thumbnail, to 1/32."""
    thumbnail: bytes
    """Grey, about 25,600 pixels, as JPEG."""

    def to_columns(self) -> dict[str, str | bytes]:
        """Values of a table's row: `pixel_hash`, `perceptual_hash` and `thumbnail`.

        `perceptual_hash` is 24 bytes for the whole picture and each window: hash and position.
        """
        rows = np.empty(len(self.hashes), _ROW)
        rows["hash"] = self.hashes
        rows["place"] = np.round(self.places / _UNIT)
        return {
            "pixel_hash": self.pixel_hash,
            "perceptual_hash": rows.tobytes(),
            "thumbnail": self.thumbnail,
        }

    @classmethod
    def from_columns(
        cls, pixel_hash: str, perceptual_hash: bytes, thumbnail: bytes
    ) -> "Fingerprint":
        """Inverse of `to_columns`, exactly."""
        rows = np.frombuffer(perceptual_hash, _ROW)
        places = rows["place"].astype(np.float32) * np.float32(_UNIT)
        return cls(pixel_hash, rows["hash"].astype(np.uint64), places, thumbnail)


def fingerprint(pixels: NDArray[np.uint8]) -> Fingerprint:
    """Fingerprint of an upright sRGB picture, uint8 `(H, W, 3)`.

    Raises:
        ValueError: an array of another kind, or without pixels.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise ValueError(f"{pixels.dtype} of shape {pixels.shape}, allowed is uint8 (H, W, 3)")
    thumbnail = thumbnail_of(pixels)
    hashes, places = windows_of(thumbnail)
    places = np.round(places / _UNIT) * np.float32(_UNIT)
    return Fingerprint(pixel_hash(pixels), hashes, places, to_jpeg(thumbnail))


def pixel_hash(pixels: NDArray[np.uint8]) -> str:
    """SHA-256 (hexadecimal) of size and pixels: equal for equal pictures, whatever the file.

    CPUs that have instructions for it are twice as fast as with BLAKE2b.
    """
    digest = hashlib.sha256(np.array(pixels.shape, "<i8").tobytes())
    digest.update(np.ascontiguousarray(pixels).reshape(-1).data)
    return digest.hexdigest()
