"""The Compression Ratio against Pillow's own files."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.metrics import compression_ratio
from diffusion4k.metrics.compression import is_quality_95, jpeg_bytes, raw_and_jpeg_bytes


def picture(width: int, height: int, noise: float = 20) -> Image.Image:
    rng = np.random.default_rng(width)
    shades = np.linspace(0, 200, width)[None, :, None] + rng.normal(0, noise, (height, width, 3))
    return Image.fromarray(shades.clip(0, 255).astype(np.uint8))


def test_is_a_ratio_of_sums(tmp_path: Path) -> None:
    paths = [tmp_path / "small.jpg", tmp_path / "large.jpeg"]
    for path, size in zip(paths, [(40, 30), (300, 201)], strict=True):
        picture(*size).save(path, quality=95)
    sizes = [path.stat().st_size for path in paths]
    expected = (40 * 30 * 3 + 300 * 201 * 3) / sum(sizes)
    assert compression_ratio(paths) == pytest.approx(expected, rel=1e-15)
    assert raw_and_jpeg_bytes(str(paths[0])) == (3600, sizes[0])


def test_more_detail_means_a_lower_ratio(tmp_path: Path) -> None:
    for noise in (0, 5, 40):
        picture(200, 200, noise).save(tmp_path / f"{noise}.jpg", quality=95)
    ratios = [compression_ratio([tmp_path / f"{noise}.jpg"]) for noise in (0, 5, 40)]
    assert ratios == sorted(ratios, reverse=True)


def test_encoding_anew_equals_writing_at_quality_95(tmp_path: Path) -> None:
    image = picture(120, 80)
    image.save(tmp_path / "image.png")
    image.save(tmp_path / "image.jpg", quality=95)
    size = (tmp_path / "image.jpg").stat().st_size
    assert len(jpeg_bytes(image)) == size
    assert raw_and_jpeg_bytes(tmp_path / "image.png", reencode=True) == (120 * 80 * 3, size)


def test_metadata_does_not_count_as_detail(tmp_path: Path) -> None:
    info = PngInfo()
    info.add_text("comment", "x" * 5000)
    picture(64, 64).save(tmp_path / "plain.png")
    picture(64, 64).save(tmp_path / "noted.png", pnginfo=info)
    noted = Image.open(tmp_path / "noted.png")
    assert jpeg_bytes(noted) == jpeg_bytes(Image.open(tmp_path / "plain.png"))
    assert "comment" in noted.info


def test_quality_is_recognised(tmp_path: Path) -> None:
    image = picture(64, 64)
    image.save(tmp_path / "95.jpg", quality=95)
    image.save(tmp_path / "90.jpg", quality=90)
    image.save(tmp_path / "444.jpg", quality=95, subsampling="4:4:4")
    image.save(tmp_path / "image.png")
    found = [is_quality_95(tmp_path / n) for n in ("95.jpg", "90.jpg", "444.jpg", "image.png")]
    assert found == [True, False, False, None]


def test_bad_input(tmp_path: Path) -> None:
    picture(64, 64).save(tmp_path / "image.png")
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(UsageError, match="at least one image"):
        compression_ratio([])
    with pytest.raises(UsageError, match=r"image\.png: a PNG file.*reencode=True"):
        compression_ratio([tmp_path / "image.png"])
    for name in ("text.jpg", "empty.jpg", "missing.jpg"):
        with pytest.raises(Diffusion4kError, match=name):
            compression_ratio([tmp_path / name])
        with pytest.raises(Diffusion4kError, match=name):
            compression_ratio([tmp_path / name], reencode=True)
