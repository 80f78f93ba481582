"""The token-grid ratio against a loop over pixels, and on pictures whose grid is known."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from diffusion4k.data.folder import photo_folder
from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.metrics import token_grid_ratio
from diffusion4k.metrics.registry import make_measures
from diffusion4k.metrics.settings import MeasureSettings
from tests.metrics.kinds import without_weights


def looped(grey: NDArray, period: int) -> float:
    """By the definition, one pair of pixels after the other."""
    above = below = 0.0
    for picture in (grey.tolist(), grey.T.tolist()):
        width = len(picture[0])
        step = {
            n: sum(abs(row[n] - row[n - 1]) for row in picture) / len(picture)
            for n in range(1, width)
        }
        for border in range(period, width, period):
            near = [
                n
                for n in step
                if abs(n - border) <= 24
                and (n - border) % math.gcd(period, 8) == 0
                and n % period != 0
            ]
            above += step[border] + 0.05
            below += sum(step[n] for n in near) / len(near) + 0.05
    return above / below


def painted(grey: NDArray) -> NDArray[np.uint8]:
    return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)


def noise(height: int, width: int, seed: int = 0) -> NDArray:
    return np.random.default_rng(seed).normal(128, 12, (height, width)).clip(30, 220).round()


@settings(max_examples=30)
@given(
    st.integers(1, 40),
    st.integers(1, 90),
    st.sampled_from([3, 5, 12, 16, 24, 32, 33, 100]),
    st.integers(0, 99),
)
def test_equals_a_loop(more_rows: int, more_columns: int, period: int, seed: int) -> None:
    """Of odd sizes, from one pixel more than a cell."""
    grey = noise(period + more_rows, period + more_columns, seed)
    assert token_grid_ratio(painted(grey), period) == pytest.approx(looped(grey, period))


def test_pictures_of_several_strips_equal_a_loop() -> None:
    grey = noise(600, 70)
    assert token_grid_ratio(painted(grey)) == pytest.approx(looped(grey, 32), rel=1e-12)


def test_a_grid_of_known_height() -> None:
    """Upright stripes of 32 pixels that differ by 6 grey values, with a ripple of 1."""
    pixels = np.arange(4 * 32)
    grey = np.tile(pixels // 32 % 2 * 6 + pixels % 2, (128, 1))
    # Columns differ by 5, 7 and 5 at the borders and by 1 beside them; rows are all equal.
    at_borders = (5 + 7 + 5 + 6 * 0.05) / (3 + 6 * 0.05)
    assert token_grid_ratio(painted(grey)) == pytest.approx(at_borders)


def test_no_grid() -> None:
    flat = np.full((100, 140, 3), 90, np.uint8)
    assert token_grid_ratio(flat) == 1
    assert token_grid_ratio(painted(noise(1024, 1024))) == pytest.approx(1, abs=0.01)


def test_blocks_of_a_jpeg_are_no_tokens() -> None:
    """Steps of 9 between all 8x8 blocks, and none elsewhere."""
    blocks = np.add.outer(np.arange(256) // 8, np.arange(256) // 8) % 2 * 9
    assert token_grid_ratio(painted(blocks)) == 1
    assert token_grid_ratio(painted(blocks), 16) == 1


@pytest.mark.parametrize("name", ["dogs", "wine"])
def test_photographs_have_none(name: str) -> None:
    """Also those whose blocks of a JPEG show: their plain ratio is 1.37 and 1.86."""
    assert token_grid_ratio(photo_folder("pocket") / f"{name}.jpg") == pytest.approx(1, abs=0.01)


def test_too_small(tmp_path: Path) -> None:
    with pytest.raises(Diffusion4kError, match=r"90x32 is too small for the token-grid ratio.*33x"):
        token_grid_ratio(np.zeros((32, 90, 3), np.uint8))
    path = tmp_path / "broken.jpg"
    path.write_bytes(b"no picture")
    with pytest.raises(Diffusion4kError, match="broken"):
        token_grid_ratio(path)


@pytest.mark.parametrize("period", [-32, 0, 1, 2, 4, 8])
def test_periods_that_nothing_compares_with(period: int) -> None:
    with pytest.raises(UsageError, match=f"grid period {period}: allowed are"):
        MeasureSettings(grid_period=period)


def test_period_is_part_of_the_protocol() -> None:
    """What was found under one is never taken for another's."""
    protocols = {
        m.protocol
        for n in (16, 32)
        for m in make_measures(MeasureSettings(grid_period=n), wanted=without_weights)[0]
    }
    assert len([each for each in protocols if "borders every" in each]) == 2
