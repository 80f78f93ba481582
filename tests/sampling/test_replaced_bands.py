"""Low sub-bands replaced in pixels: the enlarged picture's, whatever the strips; detail stays."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from diffusion4k.sampling.replaced_bands import with_low_bands
from diffusion4k.sampling.wavelet_guidance import low_band


def _picture(seed: int, height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(60, 190, (height, width, 3), dtype=np.uint8)


def _tensor(picture: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(picture).permute(2, 0, 1)[None].double()


@pytest.mark.parametrize("rows", [1, 16, 96, 700])
@pytest.mark.parametrize("wavelet", ["haar", "db2", "bior4.4"])
@pytest.mark.parametrize("levels", [1, 2])
def test_strips_give_what_the_whole_picture_gives(rows: int, wavelet: str, levels: int) -> None:
    made, enlarged = _picture(0, 700, 40), _picture(1, 700, 40)
    strips = (made[top : top + rows] for top in range(0, 700, rows))
    found = np.concatenate(list(with_low_bands(strips, enlarged, levels, wavelet)))
    low = low_band(_tensor(enlarged) - _tensor(made), levels, wavelet)
    expected = (_tensor(made) + low).clamp(0, 255)[0].permute(1, 2, 0).numpy()
    assert found.shape == made.shape and found.dtype == np.uint8
    assert np.abs(found - expected).max() <= 0.5 + 1e-3


def test_the_low_band_is_the_enlarged_picture_s_and_the_rest_the_stage_s_own() -> None:
    made, enlarged = (_picture(seed, 128, 96) // 2 + 64 for seed in (2, 3))
    found = _tensor(np.concatenate(list(with_low_bands([made], enlarged, 1, "haar"))))
    rounding = 0.5
    low = low_band(found, 1) - low_band(_tensor(enlarged), 1)
    detail = (found - low_band(found, 1)) - (_tensor(made) - low_band(_tensor(made), 1))
    assert found.min() > 0 and found.max() < 255  # nothing was cut off
    assert low.abs().max() <= rounding and detail.abs().max() <= 2 * rounding


def test_a_weight_takes_a_share() -> None:
    made, enlarged = _picture(4, 64, 64), _picture(5, 64, 64)
    half = np.concatenate(list(with_low_bands([made], enlarged, 1, "db2", 0.5)))
    expected = _tensor(made) + 0.5 * low_band(_tensor(enlarged) - _tensor(made), 1, "db2")
    assert (_tensor(half) - expected).abs().max() <= 0.5 + 1e-3
