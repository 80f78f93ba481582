"""Small folders of images that look different enough to be told apart."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

__all__ = ["PROMPTS", "fill", "pixels"]

PROMPTS = tuple(f"a scene, number {n}" for n in range(12))
SIDE = 256


def pixels(seed: int, size: tuple[int, int] = (SIDE, SIDE), noise: float = 8) -> np.ndarray:
    """Soft shades with some noise on them, `(H, W, 3)`."""
    rng = np.random.default_rng(seed)
    shades = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8))
    image = np.asarray(shades.resize(size, Image.Resampling.BICUBIC), np.float64)
    return np.clip(image + rng.normal(0, noise, image.shape), 0, 255).astype(np.uint8)


def fill(
    folder: Path,
    count: int,
    *,
    noise: float = 8,
    size: tuple[int, int] = (SIDE, SIDE),
    prompts: bool = True,
    suffix: str = ".jpg",
    seed: int = 0,
) -> Path:
    """`count` images, by default with a `metadata.jsonl` that gives each a prompt."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for n in range(count):
        image = Image.fromarray(pixels(seed + n, size, noise))
        image.save(folder / f"{n:02}{suffix}", quality=95)
        rows.append({"file_name": f"{n:02}{suffix}", "text": PROMPTS[n]})
    if prompts:
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / "metadata.jsonl").write_text(lines)
    return folder
