"""PSNR, SSIM and LPIPS as measures, beside scikit-image and the untiled network."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.metrics.lpips import Lpips
from diffusion4k.metrics.pairs import FidelityMeasure, LpipsMeasure
from diffusion4k.metrics.picture import Picture
from tests.metrics.random_weights import lpips_weights
from tests.metrics.tiny_networks import photo_like


@pytest.fixture
def pair(tmp_path: Path) -> Picture:
    photo_like(1).save(tmp_path / "made.png")
    photo_like(2).save(tmp_path / "original.png")
    return Picture(tmp_path / "made.png", original=tmp_path / "original.png")


def test_psnr_and_ssim_of_scikit_image(pair: Picture) -> None:
    image, original = (np.asarray(photo_like(seed)) for seed in (1, 2))
    found = FidelityMeasure()(pair).numbers
    assert found["psnr"] == pytest.approx(peak_signal_noise_ratio(original, image), rel=1e-9)
    expected = structural_similarity(
        image,
        original,
        channel_axis=2,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=255,
    )
    assert found["ssim"] == pytest.approx(expected, rel=1e-9)


def test_lpips_in_tiles(pair: Picture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trunk, heads = lpips_weights("alex")
    torch.save(trunk, tmp_path / "trunk.pth")
    save_file(heads, tmp_path / "heads.safetensors")
    network = Lpips("alex", tmp_path / "trunk.pth", tmp_path / "heads.safetensors")

    def whole(left: int, right: int) -> float:
        pixels = [
            torch.from_numpy(np.array(photo_like(seed))[:, left:right]).permute(2, 0, 1)[None]
            / 127.5
            - 1
            for seed in (1, 2)
        ]
        return network(*pixels).item()

    measure = LpipsMeasure(network)
    assert measure(pair).numbers["lpips"] == pytest.approx(whole(0, 96), rel=1e-5)
    monkeypatch.setattr("diffusion4k.metrics.pairs._TILE", 64)
    expected = (whole(0, 64) * 64 + whole(64, 96) * 32) / 96
    assert measure(pair).numbers["lpips"] == pytest.approx(expected, rel=1e-5)
    assert "LPIPS (alex)" in measure.protocol


def test_pairs_that_are_none(pair: Picture, tmp_path: Path) -> None:
    with pytest.raises(Diffusion4kError, match=r"made\.png: has no original"):
        FidelityMeasure()(Picture(pair.path))
    photo_like(2, 90, 64).save(tmp_path / "small.png")
    other = Picture(pair.path, original=tmp_path / "small.png")
    with pytest.raises(UsageError, match=r"made\.png: is 96x64, its original .*small\.png 90x64"):
        FidelityMeasure()(other)
