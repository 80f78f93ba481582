"""The plain implementations of `benchmarks/curation_reference.py`, and pictures to try them on."""

import importlib.util
import io
from pathlib import Path
from types import ModuleType

import numpy as np
from PIL import Image

from tests.data.fake import picture

__all__ = ["REFERENCE", "jpeg", "photograph", "textured"]


def _load() -> ModuleType:
    path = Path(__file__).parents[3] / "benchmarks" / "curation_reference.py"
    spec = importlib.util.spec_from_file_location("curation_reference", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


REFERENCE = _load()


def photograph(height: int, width: int, top: int = 0, left: int = 0) -> np.ndarray:
    """A part of a bundled photograph of a forest stream, sharp and full of texture."""
    import diffusion4k

    path = Path(diffusion4k.__file__).parent / "pocket" / "photographs" / "stream.jpg"
    pixels = np.asarray(Image.open(path).convert("RGB"))
    assert pixels.shape[0] >= top + height and pixels.shape[1] >= left + width
    return pixels[top : top + height, left : left + width].copy()


def textured(height: int, width: int, seed: int = 0, strength: float = 25) -> np.ndarray:
    """Smooth colours with texture at every scale (power falls with the square of frequency)."""
    rng = np.random.default_rng(seed)
    y, x = np.meshgrid(np.fft.fftfreq(height), np.fft.fftfreq(width), indexing="ij")
    frequency = np.hypot(y, x)
    frequency[0, 0] = 1
    white = np.fft.fft2(rng.standard_normal((height, width)))
    pink = np.fft.ifft2(white / frequency).real
    texture = strength * pink / pink.std()
    smooth = np.asarray(picture((width, height), seed), float) / 2 + 64
    return (smooth + texture[..., None]).clip(0, 255).astype(np.uint8)


def jpeg(pixels: np.ndarray, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))
