"""The numbers of a tile against PyWavelets and plain NumPy; repetition of pictures that repeat."""

import numpy as np
import pytest
import pywt
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from diffusion4k.data.folder import photo_folder
from diffusion4k.metrics.detail_features import NAMES, describe_tiles, repetition

ROUNDING = 1 / 12


def texture(side: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    walk = np.cumsum(np.cumsum(rng.normal(size=(side, side)), 0), 1)
    grey = 128 + 60 * walk / np.abs(walk).max() + rng.normal(0, 1 + seed % 5, (side, side))
    return grey.clip(0, 255).astype(np.uint8)


def plain(tile: np.ndarray) -> dict[str, float]:
    """The numbers of one tile, as the module's text reads."""
    levels = pywt.wavedec2(tile.astype(float), "haar", mode="periodization", level=4)[:0:-1]
    energy = [np.mean(np.square(bands)) + ROUNDING for bands in levels]
    found = {}
    for n in range(3):
        h, v, d = levels[n]
        upright = (np.mean(h**2) + np.mean(v**2)) / 2 + ROUNDING
        diagonal = np.mean(d**2) + ROUNDING
        m, parent = (sum(np.abs(band) for band in levels[k]) for k in (n, n + 1))
        parent = np.kron(parent, np.ones((2, 2)))
        size = h.size

        def correlation(a: np.ndarray, b: np.ndarray) -> float:
            both = (a.var() + ROUNDING) * (b.var() + ROUNDING)
            return float(((a * b).mean() - a.mean() * b.mean()) / np.sqrt(both))

        along = (h[:, 1:] * h[:, :-1]).sum() + (v[1:] * v[:-1]).sum()
        across = (v[:, 1:] * v[:, :-1]).sum() + (h[1:] * h[:-1]).sum()
        mean = (np.abs(h).mean() + np.abs(v).mean()) / 2
        level = n + 1
        found |= {
            f"slope_{level}": np.log2(energy[n] / energy[n + 1]),
            f"diagonal_{level}": np.log2(diagonal / upright),
            f"shape_{level}": np.log2((mean**2 + ROUNDING) / upright),
            f"shape_HH_{level}": np.log2((np.abs(d).mean() ** 2 + ROUNDING) / diagonal),
            f"along_{level}": along / (2 * upright * size),
            f"across_{level}": across / (2 * upright * size),
            f"cross_{level}": correlation(np.abs(h), np.abs(v)),
            f"parent_{level}": correlation(m, parent),
        }
    grey = tile.astype(float)
    steps = np.abs(np.diff(grey, axis=1)).sum(0) + np.abs(np.diff(grey, axis=0)).sum(1)
    places = [steps[n::8].sum() for n in range(8)]
    others = np.mean([places[1], places[3], places[5]])
    found["grid"] = np.log2((places[7] * 16 / 15 + 512) / (others + 512))
    for lag in (1, 2, 3, 4, 6, 8):
        fourth, product = 0.0, 0.0
        for d in (np.diff(grey, axis=1), np.diff(grey, axis=0).T):
            fourth += (d**4).sum()
            a, b = d[:, :-lag], d[:, lag:]
            product += (a**3 * b + a * b**3).sum() / 2
        found[f"edge_{lag}"] = product / (fourth + 128**2)
    return found


@settings(max_examples=15)
@given(st.integers(0, 999))
def test_equals_the_definition(seed: int) -> None:
    grey = texture(300, seed)
    tiles = describe_tiles(grey)
    assert tiles.shape == (4, 1 + len(NAMES))
    for n, (y, x) in enumerate([(0, 0), (0, 128), (128, 0), (128, 128)]):
        expected = plain(grey[y : y + 128, x : x + 128])
        for name, value in zip(NAMES, tiles[n, 1:], strict=True):
            assert value == pytest.approx(expected[name], abs=2e-4), name


def test_weight_is_of_the_structure() -> None:
    flat = np.full((128, 128), 50, np.uint8)
    # Not in step with the blocks of level 4, which would see no detail in it.
    broad = np.roll(
        np.kron(np.random.default_rng(0).integers(0, 256, (8, 8)), np.ones((16, 16))), 8
    )
    fine = np.random.default_rng(0).integers(126, 130, (128, 128))
    weights = [describe_tiles(grey.astype(np.uint8))[0, 0] for grey in (flat, fine, broad)]
    assert 0 < weights[0] < 0.01 and weights[1] < 0.1 and 0.9 < weights[2] < 1
    assert np.isfinite(describe_tiles(flat)).all()


@pytest.mark.parametrize("name", ["stream", "picosdeeuropa", "dogs"])
def test_only_what_comes_again_is_repetition(name: str) -> None:
    with Image.open(photo_folder("pocket") / f"{name}.jpg") as image:
        grey = np.asarray(image.convert("L"))
    assert repetition(grey) < 0.05
    for side in (1000, 500, 333):
        tile = grey[700 : 700 + side, 500 : 500 + side]
        assert repetition(np.tile(tile, (2000 // side, 2000 // side))) > 0.3


def test_noise_lines_and_flat_pictures_do_not_repeat() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1024, 1024)).astype(np.uint8)
    assert repetition(noise) < 0.05
    line = np.full((1024, 1024), 200, np.uint8)
    line[500:520] = 20
    assert repetition(line) < 0.1
    assert repetition(np.full((128, 128), 9, np.uint8)) == 0
