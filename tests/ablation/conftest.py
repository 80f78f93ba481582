"""A tiny study: six pictures, a tiny model, a few steps."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from diffusion4k.ablation.recipe import AblationRecipe

ARMS: dict[str, Any] = {
    "plain": {"objective": {"name": "flow-matching"}},
    "velocity": {"objective": {"name": "wavelet-flow", "space": "velocity"}},
    "latents": {"objective": {"name": "wavelet-flow", "space": "latents"}},
}


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image folder of pictures large enough for all measures; do not write into it."""
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    rows = []
    for number in range(4):
        coarse = random.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize((256, 256), Image.Resampling.BICUBIC)
        image.save(folder / f"{number}.png")
        rows.append(json.dumps({"file_name": f"{number}.png", "text": f"picture {number}"}))
    (folder / "metadata.jsonl").write_text("\n".join(rows) + "\n")
    return folder


def tiny_study(model: Path, pictures: Path, output: Path, **keys: Any) -> AblationRecipe:
    """Two arms that must be equal, two seeds; `recipe` adds to the recipe."""
    recipe = {
        "model": str(model),
        "data": str(pictures),
        "resolution": 256,
        "crop": 64,
        "batch_size": 2,
        "precision": "fp32",
        "flip": False,
        "optimizer": {"learning_rate": 1e-3},
        "log": {"trackers": []},
    }
    settings = {
        "recipe": recipe | keys.pop("recipe", {}),
        "arms": {name: ARMS[name] for name in ("plain", "velocity")},
        "baseline": "plain",
        "seeds": [0, 1],
        "steps": 3,
        "prompts": str(pictures),
        "limit": 1,
        "width": 256,
        "height": 256,
        "sampling_steps": 1,
        "velocity": {"pictures": 2, "levels": 2},
        "resamples": 50,
        "output": output,
    }
    return AblationRecipe.model_validate(settings | keys)


@pytest.fixture
def study(tiny_model: Path, pictures: Path, tmp_path: Path) -> Callable[..., AblationRecipe]:
    """`study(**keys)`: see `tiny_study`."""
    return partial(tiny_study, tiny_model, pictures, tmp_path / "study")
