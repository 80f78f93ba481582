"""PSNR, SSIM and LPIPS as measures, beside scikit-image and the untiled network."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.metrics.architectures.lpips import Lpips
from diffusion4k.metrics.pairs import FidelityMeasure, LpipsMeasure, _slices
from diffusion4k.metrics.picture import MeasuredImage
from tests.metrics.random_weights import lpips_weights
from tests.metrics.tiny_networks import photo_like


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Lpips:
    folder = tmp_path_factory.mktemp("lpips")
    trunk, heads = lpips_weights("alex")
    torch.save(trunk, folder / "trunk.pth")
    save_file(heads, folder / "heads.safetensors")
    return Lpips("alex", folder / "trunk.pth", folder / "heads.safetensors")


@pytest.fixture
def pair(tmp_path: Path) -> MeasuredImage:
    photo_like(1).save(tmp_path / "made.png")
    photo_like(2).save(tmp_path / "original.png")
    return MeasuredImage(tmp_path / "made.png", original=tmp_path / "original.png")


def test_psnr_and_ssim_of_scikit_image(pair: MeasuredImage) -> None:
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


def test_lpips_in_tiles(
    pair: MeasuredImage, network: Lpips, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    expected = (whole(0, 64) * 64 + whole(64, 96) * 32) / 96  # 48 is half way between strides
    assert measure(pair).numbers["lpips"] == pytest.approx(expected, rel=1e-5)
    assert "LPIPS (alex)" in measure.protocol


def test_pairs_that_are_none(pair: MeasuredImage, tmp_path: Path) -> None:
    with pytest.raises(Diffusion4kError, match=r"made\.png: has no original"):
        FidelityMeasure()(MeasuredImage(pair.path))
    photo_like(2, 90, 64).save(tmp_path / "small.png")
    other = MeasuredImage(pair.path, original=tmp_path / "small.png")
    with pytest.raises(UsageError, match=r"made\.png: is 96x64, its original .*small\.png 90x64"):
        FidelityMeasure()(other)


@pytest.mark.parametrize("side", [1, 31, 1024, 1025, 1050, 2731, 3840, 4096, 6449, 32769])
def test_tiles_cover_a_side_without_slivers(side: int) -> None:
    parts = _slices(side)
    assert [x for part in parts for x in range(side)[part]] == list(range(side))
    assert max(part.stop - part.start for part in parts) <= 1024 + 32
    assert len(parts) == 1 or min(part.stop - part.start for part in parts) > 400


def test_picture_too_small_for_lpips(network: Lpips, tmp_path: Path) -> None:
    photo_like(1, 12, 12).save(tmp_path / "a.png")
    picture = MeasuredImage(tmp_path / "a.png", original=tmp_path / "a.png")
    with pytest.raises(Diffusion4kError, match=r"a\.png: LPIPS failed at 12x12"):
        LpipsMeasure(network)(picture)
