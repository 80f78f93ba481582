"""Training pictures in memory: every picture at a few sizes, random crops from them."""

import json
from pathlib import Path

import numpy as np
import torch
from dataset import picture_name, read_captions
from PIL import Image
from torch import Tensor

from diffusion4k.support.files import atomic_path

__all__ = ["PictureCrops", "load_at_short_side"]


def load_at_short_side(path: Path, short_side: int) -> np.ndarray:
    """RGB uint8 `(H, W, 3)`, resized (Lanczos) so that its shorter side is `short_side`."""
    image = Image.open(path).convert("RGB")
    scale = short_side / min(image.size)
    size = (round(image.width * scale), round(image.height * scale))
    return np.asarray(image.resize(size, Image.Resampling.LANCZOS))


class PictureCrops:
    """Random square crops of the training pictures, `(B, 3, size, size)` in [-1, 1].

    A picture is drawn in proportion to how much it holds: the more bytes its JPEG takes per
    pixel, the more often it is seen, so that flat graphics do not fill the batches.
    """

    def __init__(self, folder: Path, short_sides: tuple[int, ...], *, held_out: bool) -> None:
        rows = [r for r in read_captions() if (r.get("vae_split") == "held-out") == held_out]
        self.arrays: list[np.ndarray] = []
        weights = []
        for row in rows:
            path = folder / picture_name(row)
            with Image.open(path) as image:
                native = min(image.size)
            for short_side in short_sides:
                if short_side > native * 1.05:
                    continue  # enlarging would teach the model blur
                array = _cached(path, short_side)
                self.arrays.append(array)
                weights.append(np.abs(np.diff(array[::2, ::2].astype(np.float32), axis=0)).mean())
        probabilities = np.sqrt(np.array(weights) + 0.3)
        self.probabilities = probabilities / probabilities.sum()

    def batch(self, count: int, size: int, generator: np.random.Generator) -> Tensor:
        crops = np.empty((count, size, size, 3), np.uint8)
        for i, k in enumerate(generator.choice(len(self.arrays), count, p=self.probabilities)):
            array = self.arrays[k]
            top = generator.integers(array.shape[0] - size + 1)
            left = generator.integers(array.shape[1] - size + 1)
            crop = array[top : top + size, left : left + size]
            crops[i] = crop[:, ::-1] if generator.random() < 0.5 else crop
        return to_tensor(crops)


def _cached(path: Path, short_side: int) -> np.ndarray:
    cache = path.parent.with_name("resized") / f"{path.name}.{short_side}.npy"
    if not cache.exists():
        with atomic_path(cache) as temporary:
            np.save(temporary, load_at_short_side(path, short_side))
    return np.load(cache, mmap_mode="r")


def to_tensor(images: np.ndarray) -> Tensor:
    """uint8 `(B, H, W, 3)` to float `(B, 3, H, W)` in [-1, 1]."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1


def captions_of(folder: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
