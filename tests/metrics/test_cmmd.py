"""CMMD beside SciPy's pairwise distances."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.spatial.distance import cdist

from diffusion4k.errors import Diffusion4kError
from diffusion4k.metrics import cmmd as module
from diffusion4k.metrics.clip import Clip
from diffusion4k.metrics.cmmd import CmmdMeasure, cmmd, cmmd_of_folders
from diffusion4k.metrics.picture import MeasuredImage
from tests.metrics.tiny_networks import WIDTH, photo_like, tiny_clip_folder


def unit_vectors(count: int, seed: int) -> np.ndarray:
    x = np.random.default_rng(seed).normal(seed % 3 - 1, 1, size=(count, 24))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def by_scipy(a: np.ndarray, b: np.ndarray) -> float:
    def mean_kernel(x: np.ndarray, y: np.ndarray) -> float:
        return float(np.exp(-cdist(x, y, "sqeuclidean") / 200).mean())

    return 1000 * (mean_kernel(a, a) + mean_kernel(b, b) - 2 * mean_kernel(a, b))


@settings(max_examples=30)
@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 99))
def test_equals_scipy(n_a: int, n_b: int, seed: int) -> None:
    a, b = unit_vectors(n_a, seed), unit_vectors(n_b, seed + 1)
    assert cmmd(a, b) == pytest.approx(by_scipy(a, b), rel=1e-7, abs=1e-9)
    assert cmmd(a, a) == pytest.approx(0, abs=1e-9)


def test_blocks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = unit_vectors(50, 1), unit_vectors(33, 2)
    monkeypatch.setattr(module, "_ROWS", 7)
    assert cmmd(a, b) == pytest.approx(by_scipy(a, b), rel=1e-7)


def test_folders_of_pictures(tmp_path: Path) -> None:
    clip = Clip(tiny_clip_folder(tmp_path / "clip"), texts=False)
    measure = CmmdMeasure(clip)
    folders = []
    for name in range(2):
        found = []
        for seed in range(3):
            path = tmp_path / f"{name}{seed}.png"
            photo_like(10 * name + seed, 120, 80).save(path)
            found.append(measure(MeasuredImage(path)).features["cmmd"])
        folders.append(found)
    embeddings = [np.concatenate(found) for found in folders]
    assert all(x.shape == (3, WIDTH) for x in embeddings)
    np.testing.assert_allclose(np.linalg.norm(embeddings[0], axis=1), 1, rtol=1e-5)
    square = (
        photo_like(0, 120, 80).crop((20, 0, 100, 80)).resize((32, 32), Image.Resampling.BICUBIC)
    )
    np.testing.assert_allclose(embeddings[0][0], clip.embed(square), atol=1e-5)
    expected = by_scipy(*(x.astype(np.float64) for x in embeddings))
    assert cmmd_of_folders(*folders) == pytest.approx(expected, rel=1e-4)


def test_bad_features() -> None:
    with pytest.raises(Diffusion4kError, match="at least 1 samples"):
        cmmd(np.zeros((0, 4)), np.zeros((5, 4)))
    with pytest.raises(Diffusion4kError, match="not finite"):
        cmmd(np.zeros((2, 4)), np.full((5, 4), np.inf))
