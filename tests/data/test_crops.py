"""Crops of photographs: functions of their place, with the pixels of the photograph."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from diffusion4k.data.crops import ImageCrops
from diffusion4k.data.folder import Photo, read_folder
from diffusion4k.data.sequence import places_of
from diffusion4k.errors import Diffusion4kError, UsageError

SIZES = ((96, 80), (64, 128), (100, 100))


@pytest.fixture
def photos(tmp_path: Path) -> list[Photo]:
    rows = []
    for number, (width, height) in enumerate(SIZES):
        # Red says which photograph, green the column, blue the row.
        pixels = np.zeros((height, width, 3), dtype=np.uint8)
        pixels[..., 0] = number
        pixels[..., 1] = np.arange(width)
        pixels[..., 2] = np.arange(height)[:, None]
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        rows.append(json.dumps({"file_name": f"{number}.png", "text": "a ramp"}))
    (tmp_path / "metadata.jsonl").write_text("\n".join(rows))
    return read_folder(tmp_path)


def _pixels(crop: torch.Tensor) -> np.ndarray:
    return ((crop + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0).numpy()


def test_crops_are_pixels_of_the_photograph(photos: list[Photo]) -> None:
    crops = ImageCrops(photos, crop=(48, 32), resolution=None, seed=0, flip=True)
    mirrored, corners = 0, set()
    for place in range(60):
        found = crops.sample(place)
        assert found.shape == (3, 32, 48) and found.dtype == torch.float32
        pixels = _pixels(found).astype(int)
        number, top = pixels[0, 0, 0], pixels[0, 0, 2]
        assert (pixels[..., 0] == number).all()
        assert (pixels[..., 2] == np.arange(top, top + 32)[:, None]).all()
        steps = np.diff(pixels[..., 1], axis=1)
        assert (steps == steps[0, 0]).all() and abs(steps[0, 0]) == 1
        mirrored += steps[0, 0] == -1
        corners.add((number, pixels[0, :, 1].min(), top))
    assert 15 <= mirrored <= 45
    assert len(corners) > 50


def test_every_epoch_has_each_photograph_once(photos: list[Photo]) -> None:
    crops = ImageCrops(photos, crop=(32, 32), resolution=None, seed=3)
    orders = []
    for epoch in range(8):
        seen = [int(_pixels(crops.sample(3 * epoch + i))[0, 0, 0]) for i in range(3)]
        assert sorted(seen) == [0, 1, 2]
        orders.append(tuple(seen))
    assert len(set(orders)) > 1


def test_scales_down_but_never_up(photos: list[Photo]) -> None:
    square = photos[2:]
    halved = ImageCrops(square, crop=(32, 32), resolution=50, seed=0)
    pixels = _pixels(halved.sample(0)).astype(int)
    assert (pixels[5, 30, 1] - pixels[5, 2, 1]) == pytest.approx(56, abs=1)
    whole = Image.open(square[0].path).resize((50, 50), Image.Resampling.LANCZOS)
    for place in range(5):
        found = _pixels(halved.sample(place)).astype(int)
        # Where it is cut out of the wholly resized photograph, by its middle.
        column, row = ((found[16, 16, i] - 0.5) / 2 for i in (1, 2))
        left, top = round(column) - 16, round(row) - 16
        expected = np.asarray(whole).astype(int)[top : top + 32, left : left + 32]
        assert abs(found - expected).max() <= 1
    own = ImageCrops(square, crop=(32, 32), resolution=400, seed=0)
    assert (np.diff(_pixels(own.sample(0)).astype(int)[0, :, 1]) == 1).all()


def test_any_division_takes_the_same_places() -> None:
    shared = [
        places_of(5, batch_size=2, gradient_accumulation=3, rank=rank, world=2) for rank in (0, 1)
    ]
    alone = places_of(5, batch_size=12, gradient_accumulation=1, rank=0, world=1)
    assert sorted(p for share in shared for micro in share for p in micro) == list(alone[0])


def test_reading_ahead_changes_nothing(photos: list[Photo]) -> None:
    crops = ImageCrops(photos, crop=(32, 32), resolution=None, seed=0, flip=True)
    steps = [places_of(s, batch_size=2, gradient_accumulation=2, rank=0, world=1) for s in range(4)]
    found = list(crops.read(iter(steps), workers=3))
    assert [places for places, _ in found] == steps
    for places, batches in found:
        for micro, images in zip(places, batches, strict=True):
            assert torch.equal(images, torch.stack([crops.sample(place) for place in micro]))


def test_photographs_that_are_too_small(photos: list[Photo], capsys) -> None:
    with pytest.raises(UsageError, match=r"1\.png: 64x128 pixels, less than the crop 80x64"):
        ImageCrops(photos, crop=(80, 64), resolution=None, seed=0)
    crops = ImageCrops(photos, crop=(80, 64), resolution=None, seed=0, skip_bad=True)
    assert "1.png: smaller than the crop" in capsys.readouterr().err
    assert {int(_pixels(crops.sample(place))[0, 0, 0]) for place in range(8)} == {0, 2}
    with pytest.raises(UsageError, match="less than the crop"):
        ImageCrops(photos, crop=(512, 512), resolution=None, seed=0, skip_bad=True)


def test_photographs_that_cannot_be_decoded(photos: list[Photo], capsys) -> None:
    for photo in photos[:2]:
        photo.path.write_bytes(photo.path.read_bytes()[:150])
    strict = ImageCrops(photos, crop=(32, 32), resolution=None, seed=0)
    with pytest.raises(Diffusion4kError, match=r"\.png: .*--skip-bad"):
        [strict.sample(place) for place in range(3)]
    lenient = ImageCrops(photos, crop=(32, 32), resolution=None, seed=0, skip_bad=True)
    assert {int(_pixels(lenient.sample(place))[0, 0, 0]) for place in range(6)} == {2}
    assert capsys.readouterr().err.count("skipped") == 2
    photos[2].path.write_bytes(b"")
    with pytest.raises(Diffusion4kError, match="no photograph can be read"):
        lenient.sample(0)
