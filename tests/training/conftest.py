"""A tiny run: four photographs, a tiny model, a few steps."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffusion4k.training.recipe.recipe import Recipe

CAPTIONS = (
    *("a cat", "a dog", "a red barn", "fog over a lake", "a boat", "snow", "a street at night"),
    *("three apples", "a bridge", "a field of rye", "rain on a window", "an owl"),
)


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image folder with `metadata.jsonl`; do not write into it."""
    folder = tmp_path_factory.mktemp("photographs")
    random = np.random.default_rng(0)
    rows = []
    for number, caption in enumerate(CAPTIONS):
        height, width = (64, 96) if number % 2 else (128, 96)
        coarse = random.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        image.save(folder / f"{number}.png")
        rows.append(json.dumps({"file_name": f"{number}.png", "text": caption}))
    (folder / "metadata.jsonl").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for all runs of the session; the first run fills it."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def recipe(
    tiny_model: Path, photographs: Path, cache: Path, tmp_path: Path
) -> Callable[..., Recipe]:
    """`recipe(**keys)`: six steps into `tmp_path/run`, a checkpoint every second, no validation."""

    def make(**keys: object) -> Recipe:
        least = {
            "model": str(tiny_model),
            "data": str(photographs),
            "output": str(tmp_path / "run"),
            "cache": str(cache),
            "resolution": 64,
            "crop": 64,
            "steps": 6,
            "batch_size": 2,
            "optimizer": {"learning_rate": 1e-3},
            "checkpoint": {"every": 2},
            "validation": {"every": None},
        }
        return Recipe.model_validate(least | keys)

    return make
