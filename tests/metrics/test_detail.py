"""The detail distance judges every kind of damage worse, and compares folders."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from diffusion4k.data.folder import photo_folder
from diffusion4k.data.images import open_pixels
from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.metrics.detail import (
    Detail,
    DetailModel,
    describe,
    detail_distance,
    distance_between_tiles,
)

PHOTOGRAPHS = sorted(
    path for path in photo_folder("pocket").glob("*.jpg") if "gradient" not in path.name
)
HELD_OUT = ("stream.jpg", "wine.jpg")


@pytest.fixture(scope="module")
def model() -> DetailModel:
    return DetailModel.fit([path for path in PHOTOGRAPHS if path.name not in HELD_OUT])


def noise(rgb: np.ndarray) -> np.ndarray:
    added = rgb + np.random.default_rng(0).normal(0, 8, rgb.shape)
    return added.round().clip(0, 255).astype(np.uint8)


def oversharp(rgb: np.ndarray) -> np.ndarray:
    soft = cv2.GaussianBlur(rgb, (0, 0), 1.5)
    return cv2.addWeighted(rgb, 5, soft, -4, 0)


def jpeg(rgb: np.ndarray) -> np.ndarray:
    _, content = cv2.imencode(".jpg", rgb, [cv2.IMWRITE_JPEG_QUALITY, 30])
    return cv2.imdecode(content, cv2.IMREAD_COLOR)


def blurred(rgb: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(rgb, (0, 0), 2)


def enlarged(rgb: np.ndarray) -> np.ndarray:
    small = cv2.resize(rgb, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, rgb.shape[1::-1], interpolation=cv2.INTER_CUBIC)


def repeated(rgb: np.ndarray) -> np.ndarray:
    return np.tile(rgb[:512, :512], (rgb.shape[0] // 512, rgb.shape[1] // 512, 1))


@pytest.mark.parametrize("name", HELD_OUT)
@pytest.mark.parametrize("damage", [noise, oversharp, jpeg, blurred, enlarged, repeated])
def test_every_damage_is_judged_worse(
    model: DetailModel, name: str, damage: Callable[[np.ndarray], np.ndarray]
) -> None:
    rgb = np.ascontiguousarray(open_pixels(photo_folder("pocket") / name)[:2048, :2048])
    assert detail_distance(damage(rgb), model) > detail_distance(rgb, model)


def test_flat_pictures_and_noise_are_far(model: DetailModel) -> None:
    real = max(detail_distance(path, model) for path in PHOTOGRAPHS[:2])
    flat = np.full((512, 512, 3), 128, np.uint8)
    white = np.random.default_rng(0).integers(0, 256, (512, 512, 3), np.uint8)
    assert detail_distance(flat, model) > real and detail_distance(white, model) > 3 * real


def test_distance_by_the_formula() -> None:
    rng = np.random.default_rng(0)
    ours, theirs = (rng.normal(size=(400, 31)) * scale + shift for scale, shift in ((1, 0), (2, 1)))
    weights = rng.uniform(0.1, 1, (2, 400))
    tiles = [
        np.column_stack([weight, rows]).astype(np.float32)
        for weight, rows in zip(weights, (ours, theirs), strict=True)
    ]
    means = [
        np.average(rows, axis=0, weights=w)
        for rows, w in zip((ours, theirs), weights, strict=False)
    ]
    spreads = [
        np.cov(rows, rowvar=False, aweights=w, ddof=0)
        for rows, w in zip((ours, theirs), weights, strict=False)
    ]
    shift = means[0] - means[1]
    pooled = sum(spreads) / 2 + 1e-4 * np.eye(31)
    expected = float(np.sqrt(shift @ np.linalg.inv(pooled) @ shift))
    assert distance_between_tiles([tiles[0]], [tiles[1]]) == pytest.approx(expected, rel=1e-4)
    model = DetailModel(means[1], spreads[1], repetition=-5, repetition_spread=0.5, photographs=1)
    assert model.distance(Detail(tiles[0], 2.0**-6)) == pytest.approx(expected, rel=1e-4)
    far = np.hypot(expected, 4)
    assert model.distance(Detail(tiles[0], 2.0**-3)) == pytest.approx(far, rel=1e-4)


def test_every_picture_of_a_folder_weighs_the_same() -> None:
    rng = np.random.default_rng(1)
    one, other, theirs = (rng.uniform(0.5, 1, (40, 32)).astype(np.float32) for _ in range(3))
    once = distance_between_tiles([one, other], [theirs])
    assert distance_between_tiles([one, np.tile(other, (9, 1))], [theirs]) == pytest.approx(once)
    assert distance_between_tiles(iter([theirs]), iter([theirs])) == 0
    with pytest.raises(Diffusion4kError, match="without pictures"):
        distance_between_tiles([], [theirs])


def test_own_photographs(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="1 photographs.*at least two"):
        DetailModel.fit(PHOTOGRAPHS[:1])
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    with pytest.raises(Diffusion4kError, match=r"broken\.jpg: not an image"):
        DetailModel.fit([PHOTOGRAPHS[0], tmp_path / "broken.jpg"])
    two, three = DetailModel.fit(PHOTOGRAPHS[:2]), DetailModel.fit(PHOTOGRAPHS[:3])
    assert two.photographs == 2 and two.fingerprint != three.fingerprint
    assert two.fingerprint == DetailModel.fit(PHOTOGRAPHS[:2]).fingerprint
    with pytest.raises(Diffusion4kError, match="too small"):
        describe(np.zeros((127, 400, 3), np.uint8))
