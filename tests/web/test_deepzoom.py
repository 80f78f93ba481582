"""Tiles put together again are the picture; large ones are not decoded whole to be seen whole."""

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from diffusion4k.data.images import open_rgb
from diffusion4k.errors import Diffusion4kError
from diffusion4k.web import deepzoom
from diffusion4k.web.deepzoom import OVERLAP, TILE, Pyramid, Tiles
from tests.data.fake import picture, save_picture

SIZES = st.integers(1, 3 * TILE)


def assembled(tiles: Tiles, path: Path, level: int) -> Image.Image:
    """A level, put together as a viewer does; what tiles repeat must be the same in both."""
    size = tiles.pyramid(path).size(level)
    whole = Image.new("RGB", size)
    for row in range(-(-size[1] // TILE)):
        for column in range(-(-size[0] // TILE)):
            tile = tiles.tile(path, level, column, row)
            image = Image.open(io.BytesIO(tile.content))
            assert tile.media_type == f"image/{(image.format or '').lower()}"
            left = column * TILE - (OVERLAP if column else 0)
            top = row * TILE - (OVERLAP if row else 0)
            assert left + image.width == min((column + 1) * TILE + OVERLAP, size[0])
            whole.paste(image, (left, top))
    return whole


def halved(image: Image.Image, times: int) -> np.ndarray:
    """Means of blocks of 2^times pixels a side; of those at the edges, of what is there."""
    block = 2**times
    pixels = np.asarray(image, np.float32)
    height, width = (-(-side // block) for side in pixels.shape[:2])
    padded = np.full((height * block, width * block, 3), np.nan, np.float32)
    padded[: pixels.shape[0], : pixels.shape[1]] = pixels
    return np.nanmean(padded.reshape(height, block, width, block, 3), axis=(1, 3))


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(width=SIZES, height=SIZES)
def test_the_top_level_is_the_picture_to_the_bit(tmp_path: Path, width: int, height: int) -> None:
    path = tmp_path / "picture.png"
    save_picture(path, (width, height))
    tiles = Tiles()
    level = tiles.pyramid(path).top
    assert 2**level >= max(width, height) > 2 ** (level - 1) - (level == 0)
    np.testing.assert_array_equal(assembled(tiles, path, level), open_rgb(path))


@given(width=st.integers(1, 40_000), height=st.integers(1, 40_000))
def test_sizes_of_levels_by_the_scheme(width: int, height: int) -> None:
    pyramid = Pyramid(width, height)
    size = (width, height)
    for level in range(pyramid.top, -1, -1):
        assert pyramid.size(level) == size
        size = (size[0] + 1) // 2, (size[1] + 1) // 2
    assert pyramid.size(0) == (1, 1)
    overview = max(pyramid.size(pyramid.overview))
    assert overview >= min(2048, max(width, height))
    assert overview < 4097 or pyramid.overview == pyramid.top - 3


@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize("size", [(4099, 900), (701, 4200), (2047, 600)])
def test_every_level_is_the_picture_made_smaller(
    tmp_path: Path, size: tuple[int, int], suffix: str
) -> None:
    path = tmp_path / f"picture.{suffix}"
    picture(size).save(path, quality=95)
    tiles = Tiles()
    pyramid = tiles.pyramid(path)
    original = open_rgb(path)
    for level in range(8, 11):
        expected = halved(original, pyramid.top - level)
        found = np.asarray(assembled(tiles, path, level), np.float32)
        error = np.abs(found - expected).mean()
        assert error < 2
        # Nor is it shifted.
        assert error < np.abs(found[:, 1:] - expected[:, :-1]).mean()
        assert error < np.abs(found[1:] - expected[:-1]).mean()


def test_turned_pictures_are_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture((4100, 1060)).save(tmp_path / "turned.jpg", exif=exif)
    tiles = Tiles()
    assert tiles.pyramid(tmp_path / "turned.jpg") == Pyramid(1060, 4100)
    low = np.asarray(assembled(tiles, tmp_path / "turned.jpg", 8), np.float32)
    assert np.abs(low - halved(open_rgb(tmp_path / "turned.jpg"), 5)).mean() < 2


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Sizes that pictures were decoded at."""
    sizes = []

    def counting(path: Path, at_least: tuple[int, int] | None = None) -> Image.Image:
        image = open_rgb(path, at_least)
        sizes.append(image.size)
        return image

    monkeypatch.setattr(deepzoom, "open_rgb", counting)
    return sizes


def test_a_large_jpeg_is_decoded_small_until_someone_looks_closer(
    tmp_path: Path, decoded: list[tuple[int, int]]
) -> None:
    path, tiles = tmp_path / "large.jpg", Tiles()
    picture((9_000, 6_000)).save(path)
    for level in range(13):
        tiles.tile(path, level, 0, 0)
    assert decoded == [(2250, 1500)]
    tiles.tile(path, 13, 0, 0)
    tiles.tile(path, 14, 3, 3)
    assert decoded == [(2250, 1500), (9_000, 6_000)]


def test_what_cannot_be_decoded_small_is_decoded_once(
    tmp_path: Path, decoded: list[tuple[int, int]]
) -> None:
    path, tiles = tmp_path / "large.png", Tiles()
    save_picture(path, (4200, 300))
    for level in (4, 11, 12, 13):
        tiles.tile(path, level, 0, 0)
    assert decoded == [(4200, 300)]


def test_memory_is_bounded(tmp_path: Path, decoded: list[tuple[int, int]]) -> None:
    tiles = Tiles(limit=3 * 200 * 200 * 4)
    for number in range(12):
        save_picture(tmp_path / f"{number}.png", (200, 200))
        tiles.tile(tmp_path / f"{number}.png", 8, 0, 0)
        assert tiles._levels.bytes <= 3 * 200 * 200 * 4
    assert len(decoded) == 12
    tiles.tile(tmp_path / "11.png", 8, 0, 0)
    assert len(decoded) == 12
    tiles.tile(tmp_path / "0.png", 8, 0, 0)
    assert len(decoded) == 13


def test_a_picture_that_was_changed_is_decoded_anew(tmp_path: Path) -> None:
    path, tiles = tmp_path / "picture.png", Tiles()
    save_picture(path, (80, 80), seed=1)
    before = tiles.tile(path, 7, 0, 0)
    save_picture(path, (80, 60), seed=2)
    assert tiles.pyramid(path) == Pyramid(80, 60)
    assert tiles.tile(path, 7, 0, 0) != before


@pytest.mark.parametrize("tile", [(8, 0, 0), (-1, 0, 0), (7, 1, 0), (7, 0, 1), (7, -1, 0)])
def test_tiles_that_are_not_there(tmp_path: Path, tile: tuple[int, int, int]) -> None:
    save_picture(tmp_path / "picture.png", (100, 80))
    with pytest.raises(Diffusion4kError, match="no tile"):
        Tiles().tile(tmp_path / "picture.png", *tile)


def test_pictures_that_are_gone_or_broken(tmp_path: Path) -> None:
    tiles = Tiles()
    with pytest.raises(Diffusion4kError, match=r"gone\.png: No such file"):
        tiles.pyramid(tmp_path / "gone.png")
    rng = np.random.default_rng(0)
    cut = tmp_path / "cut.jpg"
    Image.fromarray(rng.integers(0, 256, (90, 90, 3), dtype=np.uint8)).save(cut)
    cut.write_bytes(cut.read_bytes()[:2000])
    assert tiles.pyramid(cut) == Pyramid(90, 90)
    for _ in range(2):
        with pytest.raises(Diffusion4kError, match=r"cut\.jpg: damaged or truncated"):
            tiles.tile(cut, 7, 0, 0)
