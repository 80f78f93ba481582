"""A tiny run: four photographs, a tiny teacher, a few steps with everything switched on."""

from collections.abc import Callable
from pathlib import Path

import pytest

from diffusion4k.training.autoencoder.recipe import AutoencoderRecipe


@pytest.fixture
def recipe(tiny_model: Path, photographs: Path, tmp_path: Path) -> Callable[..., AutoencoderRecipe]:
    """`recipe(**keys)`: six steps into `tmp_path/run`; the discriminator sets in after two."""

    def make(**keys: object) -> AutoencoderRecipe:
        least = {
            "model": str(tiny_model),
            "data": str(photographs),
            "output": str(tmp_path / "run"),
            "crop": 32,
            "steps": 6,
            "batch_size": 2,
            "workers": 2,
            "loss": {"wavelet": 0.1},
            "adversarial": {"start": 2, "channels": 4, "layers": 2},
            "optimizer": {"learning_rate": 1e-3},
            "checkpoint": {"every": 2},
            "validation": {"every": None},
        }
        return AutoencoderRecipe.model_validate(least | keys)

    return make
