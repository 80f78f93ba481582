"""Rows of the table."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from diffusion4k.demo.result import DemoResult
from diffusion4k.demo.settings import Demo, demo_recipe
from diffusion4k.metrics.evaluate import DistanceResult, Evaluation, Folder
from diffusion4k.metrics.frechet import frechet_distance
from diffusion4k.metrics.measure import Found
from diffusion4k.metrics.measuring import Measured
from diffusion4k.metrics.settings import MeasureSettings
from diffusion4k.metrics.store import MeasureStore
from diffusion4k.sampling import Output


def folder(count: int, seed: int, store: Path) -> Folder:
    generator = np.random.default_rng(seed)
    images = {}
    for i in range(count):
        place = store / f"{seed}-{i}.safetensors"
        features = {
            "effnet": generator.normal(size=(1, 6)).astype(np.float32),
            "effnet_patch": generator.normal(size=(3, 6)).astype(np.float32),
        }
        MeasureStore(store).keep(place, Found(features=features))
        numbers = {"width": 64 + i, "height": 64, "glcm_score": 0.5 + i, "glcm_entropy": 4.0}
        numbers |= {"raw_bytes": (64 + i) * 64 * 3, "jpeg_bytes": 1000}
        numbers |= {"jpeg_reencoded": 0, "jpeg_other_quality": 0}
        numbers |= {"detail_distance": 2.0 - i, "token_grid_ratio": 1.0}
        path = Path(f"{i}.jpg")
        images[path.name] = Measured(path, numbers, dict.fromkeys(features, place))
    return Folder(Path("x"), images)


@pytest.mark.filterwarnings("error")
def test_rows(tmp_path: Path) -> None:
    photographs = folder(4, 0, tmp_path)
    distances = [
        DistanceResult("FD-EffNet", None, 1, 4),
        DistanceResult("FD-EffNet-patch", 7.0, 3, 12),
    ]
    result = DemoResult(Demo(), demo_recipe(Demo()))
    for name in ("before", "after", "aspect", "direct"):
        result.measured[name] = Evaluation(
            folder(1, 1, tmp_path), photographs, distances, MeasureSettings(), None
        )
    real, before, *_ = result.rows

    patches = list(photographs.features("effnet_patch"))
    pairs = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    with pytest.warns(UserWarning, match="biased upwards"):
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
    assert (before.fd_effnet_patch, before.detail_distance) == (7.0, 2.0)


def test_changes_compare_prompt_by_prompt(tmp_path: Path) -> None:
    photographs = folder(4, 0, tmp_path)
    result = DemoResult(Demo(), demo_recipe(Demo()))
    settings = SimpleNamespace(prompt="a cat")
    for seed, name in enumerate(("before", "after"), 1):
        images = folder(1, seed, tmp_path)
        result.measured[name] = Evaluation(images, photographs, [], MeasureSettings(), None)
        result.images[name] = [Output(Path("0.jpg"), settings, True)]  # type: ignore[arg-type]
    (change,) = result.changes
    assert (change.prompt, change.detail_distance) == ("a cat", (2.0, 2.0))
    reference = np.concatenate(list(photographs.features("effnet_patch")))
    with pytest.warns(UserWarning, match="biased upwards"):
        expected = [
            frechet_distance(next(iter(folder(1, n, tmp_path).features("effnet_patch"))), reference)
            for n in (1, 2)
        ]
    assert change.fd_effnet_patch == pytest.approx(tuple(expected))
