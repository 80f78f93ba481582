"""Rows of the table."""

from pathlib import Path

import numpy as np
import pytest

from diffusion4k.demo.result import Result
from diffusion4k.demo.settings import Demo, demo_recipe
from diffusion4k.metrics.evaluate import Distance, Evaluation, Folder
from diffusion4k.metrics.frechet import frechet_distance
from diffusion4k.metrics.measure import Measurement, Settings


def folder(count: int, seed: int) -> Folder:
    generator = np.random.default_rng(seed)
    return Folder(
        Path("x"),
        {
            f"{i}.jpg": Measurement(
                64 + i, 64, 0.5 + i, 4.0, 1000, "file",
                generator.normal(size=(1, 6)).astype(np.float32),
                generator.normal(size=(3, 6)).astype(np.float32),
            )
            for i in range(count)
        },
    )  # fmt: skip


@pytest.mark.filterwarnings("error")
def test_rows() -> None:
    photographs = folder(4, 0)
    distances = [Distance("FD-EffNet", None, 1, 4), Distance("FD-EffNet-patch", 7.0, 3, 12)]
    result = Result(Demo(), demo_recipe(Demo()))
    for name in ("before", "after", "aspect"):
        result.measured[name] = Evaluation(folder(1, 1), photographs, distances, Settings(), None)
    real, before, *_ = result.rows

    patches = [image.patch_features for image in photographs.images.values()]
    pairs = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    with pytest.warns(UserWarning):
        expected = [
            frechet_distance(
                np.concatenate([patches[a], patches[b]]),
                np.concatenate([patches[i] for i in range(4) if i not in (a, b)]),
            )
            for a, b in pairs
        ]
    assert real.fd_effnet_patch == pytest.approx(np.mean(expected))
    assert (real.images, real.size, real.patches, real.glcm_score) == (4, "native sizes", 12, 2.0)
    assert (before.images, before.size, before.patches) == (1, "64×64", 3)
    assert (before.fd_effnet, before.fd_effnet_patch) == (None, 7.0)
