"""The detail distance judges every kind of damage worse, and compares folders."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from diffusion4k.data.folder import photo_folder
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
HELD_OUT = ("stream.jpg", "picosdeeuropa.jpg")


@pytest.fixture(scope="module")
def model() -> DetailModel:
    return DetailModel.fit([path for path in PHOTOGRAPHS if path.name not in HELD_OUT])


def noise(image: Image.Image) -> Image.Image:
    rgb = np.asarray(image)
    added = rgb + np.random.default_rng(0).normal(0, 8, rgb.shape)
    return Image.fromarray(added.round().clip(0, 255).astype(np.uint8))


def oversharp(image: Image.Image) -> Image.Image:
    return image.filter(ImageFilter.UnsharpMask(1.5, 400, 0))


def jpeg(image: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=30)
    return Image.open(buffer)


def blurred(image: Image.Image) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(2))


def enlarged(image: Image.Image) -> Image.Image:
    small = image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS)
    return small.resize(image.size, Image.Resampling.BICUBIC)


def repeated(image: Image.Image) -> Image.Image:
    tile = np.asarray(image)[:512, :512]
    return Image.fromarray(np.tile(tile, (image.height // 512, image.width // 512, 1)))


@pytest.mark.parametrize("name", HELD_OUT)
@pytest.mark.parametrize("damage", [noise, oversharp, jpeg, blurred, enlarged, repeated])
def test_every_damage_is_judged_worse(
    model: DetailModel, name: str, damage: Callable[[Image.Image], Image.Image]
) -> None:
    with Image.open(photo_folder("pocket") / name) as opened:
        image = opened.convert("RGB").crop((0, 0, 2048, 2048))
    assert detail_distance(damage(image), model) > detail_distance(image, model)


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
    sides = list(zip((ours, theirs), weights, strict=True))
    means = [np.average(rows, axis=0, weights=weight) for rows, weight in sides]
    spreads = [np.cov(rows, rowvar=False, aweights=weight, ddof=0) for rows, weight in sides]
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
    with pytest.raises(UsageError, match=r"1 photograph:.*at least two"):
        DetailModel.fit(PHOTOGRAPHS[:1])
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    with pytest.raises(Diffusion4kError, match=r"broken\.jpg: not an image"):
        DetailModel.fit([PHOTOGRAPHS[0], tmp_path / "broken.jpg"])
    two, three = DetailModel.fit(PHOTOGRAPHS[:2]), DetailModel.fit(PHOTOGRAPHS[:3])
    assert two.photographs == 2 and two.fingerprint != three.fingerprint
    assert two.fingerprint == DetailModel.fit(PHOTOGRAPHS[:2]).fingerprint
    with pytest.raises(Diffusion4kError, match="too small"):
        describe(np.zeros((127, 400, 3), np.uint8))
