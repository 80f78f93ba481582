"""Everything `evaluate` wants to know of one image, from a single decode, kept on disk if wished.

A kept measurement is found again by the content of the image file and the settings, so that an
interrupted evaluation goes on where it stopped and a reference folder is measured once for all.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diffusion4k import __version__
from diffusion4k.errors import UsageError
from diffusion4k.files import atomic_path, sha256_of
from diffusion4k.metrics.compression import is_quality_95, jpeg_bytes
from diffusion4k.metrics.features import FeatureExtractor
from diffusion4k.metrics.glcm import glcm_map
from diffusion4k.metrics.images import as_pil

__all__ = ["Measurement", "Settings", "measure", "measure_once"]


@dataclass(frozen=True)
class Settings:
    """What a measurement depends on beside the image."""

    reencode: bool = False
    patch_size: int = 224
    patches_per_image: int = 64

    def __post_init__(self) -> None:
        for name in ("patch_size", "patches_per_image"):
            if getattr(self, name) < 1:
                option = "--" + name.replace("_", "-")
                raise UsageError(f"{option} {getattr(self, name)}: must be at least 1")


@dataclass(frozen=True)
class Measurement:
    """One image: size in pixels, entropies in bits, JPEG size in bytes, features or None."""

    width: int
    height: int
    glcm_score: float
    glcm_entropy: float
    jpeg_bytes: int
    jpeg_source: str
    features: NDArray[np.float32] | None = None
    patch_features: NDArray[np.float32] | None = None

    def numbers(self) -> dict[str, float | int | str]:
        """All fields but the features, and the image's own Compression Ratio."""
        fields = {name: value for name, value in vars(self).items() if "features" not in name}
        return fields | {"compression_ratio": self.raw_bytes / self.jpeg_bytes}

    @property
    def raw_bytes(self) -> int:
        """Bytes of the RGB pixels."""
        return self.width * self.height * 3


def measure(path: Path, settings: Settings, extractor: FeatureExtractor | None) -> Measurement:
    """Measure one image file; features `(1, D)` and `(N, D)` only with an extractor.

    `jpeg_source` tells which JPEG was weighed: "file" (written at quality 95), "file of another
    quality" or "re-encoded". Raises `Diffusion4kError` for a broken or too small image.
    """
    picture = as_pil(path)
    glcm = glcm_map(np.asarray(picture))
    at_quality_95 = None if settings.reencode else is_quality_95(path)
    if at_quality_95 is None:
        source, size = "re-encoded", len(jpeg_bytes(picture))
    else:
        source = "file" if at_quality_95 else "file of another quality"
        size = path.stat().st_size
    return Measurement(
        width=picture.width,
        height=picture.height,
        glcm_score=float(glcm.score.mean()),
        glcm_entropy=float(glcm.entropy.mean()),
        jpeg_bytes=size,
        jpeg_source=source,
        features=extractor([picture]) if extractor else None,
        patch_features=(
            extractor.patches(picture, settings.patch_size, settings.patches_per_image)
            if extractor
            else None
        ),
    )


def measure_once(
    path: Path, settings: Settings, extractor: FeatureExtractor | None, cache: Path | None
) -> Measurement:
    """`measure`, unless `cache` holds this content and these settings already."""
    if cache is None:
        return measure(path, settings, extractor)
    kept = cache / f"{_key(path, settings, extractor)}.safetensors"
    measurement = _load(kept)
    if measurement:
        return measurement
    measurement = measure(path, settings, extractor)
    _save(measurement, kept)
    return measurement


def _key(path: Path, settings: Settings, extractor: FeatureExtractor | None) -> str:
    what = {
        "image": sha256_of(path),
        "settings": asdict(settings),
        "extractor": f"{extractor.name}: {extractor.preprocessing}" if extractor else None,
        "version": __version__,
    }
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:32]


def _save(measurement: Measurement, path: Path) -> None:
    from safetensors.numpy import save_file

    arrays = {
        name: value for name, value in vars(measurement).items() if isinstance(value, np.ndarray)
    }
    numbers = {name: value for name, value in vars(measurement).items() if "features" not in name}
    with atomic_path(path) as temporary:
        save_file(arrays, temporary, metadata={"numbers": json.dumps(numbers)})


def _load(path: Path) -> Measurement | None:
    """The kept measurement, or None if there is none or the file is damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return Measurement(**json.loads(file.metadata()["numbers"]), **arrays)
    except (FileNotFoundError, SafetensorError, KeyError, TypeError, ValueError):
        return None
