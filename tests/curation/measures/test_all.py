"""All measures against plain NumPy, SciPy and scikit-image ones, and their common interface."""

import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from diffusion4k.curation.measures import MEASURES, measure, measure_file, measure_header
from diffusion4k.curation.thresholds import Thresholds
from diffusion4k.errors import Diffusion4kError, UsageError
from tests.curation.measures.reference import REFERENCE, jpeg, photograph, textured


def blurred(pixels: np.ndarray) -> np.ndarray:
    return ndimage.gaussian_filter(pixels, (2, 2, 0))


def framed(pixels: np.ndarray) -> np.ndarray:
    pixels = pixels.copy()
    pixels[:40], pixels[-21:], pixels[:, :13], pixels[:, -7:] = 255, 255, 255, 255
    return pixels


PICTURES = {
    "photograph": photograph(560, 620),
    "odd size": photograph(517, 531, 40, 60),
    "blurred": blurred(photograph(512, 520)),
    "compressed": jpeg(photograph(520, 512, 100), 25),
    "compressed and cropped": jpeg(jpeg(photograph(540, 560), 30)[3:, 5:], 95),
    "doubled": photograph(280, 280).repeat(2, axis=0).repeat(2, axis=1),
    "framed": framed(photograph(520, 600)),
    "texture": textured(600, 550),
    "dark": (photograph(512, 512) // 9).astype(np.uint8),
    "noise": np.random.default_rng(0).integers(0, 256, (520, 530, 3), np.uint8),
}


@pytest.mark.parametrize("name", PICTURES)
def test_every_measure_equals_the_plain_one(name: str) -> None:
    pixels = PICTURES[name]
    found, expected = measure(pixels), REFERENCE.measure(pixels)
    assert found.keys() == expected.keys() == MEASURES.keys() - {"jpeg_quality"}
    for key, value in expected.items():
        # Fourier transforms are of float32 here and of float64 there.
        assert found[key] == pytest.approx(value, rel=2e-4, abs=1e-6), key


def test_one_colour_has_no_detail_and_no_defect_of_the_grid() -> None:
    values = measure(np.full((520, 520, 3), 90, np.uint8))
    zero = ["laplacian_variance", "noise", "pixel_repetition", "spectral_cutoff", "border"]
    assert {name: values[name] for name in zero} == dict.fromkeys(zero, 0) | {
        "noise": pytest.approx(0.25 / 2 / 0.6745)
    }
    assert values["flat_ratio"] == values["blockiness"] == 1
    assert values["traced_quality"] == 100
    assert values["brightness"] == values["white_level"] == values["black_level"] == 90


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (7, 9), (63, 63), (100, 65), (241, 255)])
def test_small_pictures_have_no_value_where_they_are_too_small(size: tuple[int, int]) -> None:
    values = measure(np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8))
    missing = {name for name, value in values.items() if math.isnan(value)}
    expected = set()
    if min(size) < 64:
        expected |= {"noise", "glcm_score", "glcm_entropy"}
    if min(size) < 240:
        expected |= {"flat_ratio"}
    if min(size) < 256:
        expected |= {"laplacian_variance", "gradient_kurtosis", "spectral_slope", "detail_fall"}
        expected |= {"edge_anisotropy", "motion_blur", "spectral_cutoff"}
    assert missing == expected


def test_only_some_are_measured() -> None:
    pixels = photograph(300, 300)
    some = measure(pixels, only=["noise", "border"])
    everything = measure(pixels)
    assert some == {name: everything[name] for name in ("noise", "border")}
    with pytest.raises(UsageError, match="measure sharpness: no such measure"):
        measure(pixels, only=["noise", "sharpness"])


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((64, 64), np.uint8), np.zeros((64, 64, 3)), np.zeros((0, 5, 3), np.uint8)],
    ids=["grey", "float", "empty"],
)
def test_other_arrays_are_refused(pixels: np.ndarray) -> None:
    with pytest.raises(Diffusion4kError, match=r"measures take uint8 \(H, W, 3\)"):
        measure(pixels)


def test_views_and_read_only_arrays_give_the_same() -> None:
    pixels = photograph(512, 300)
    view = pixels[::-1, ::-1].copy()[::-1, ::-1]
    view.flags.writeable = False
    assert measure(view) == measure(pixels)


def test_threads_do_not_disturb_each_other() -> None:
    pictures = [photograph(512, 512, 40 * k) for k in range(4)]
    expected = [measure(picture) for picture in pictures]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            assert list(pool.map(measure, pictures)) == expected


@pytest.mark.parametrize("quality", [1, 5, 20, 50, 75, 85, 95, 100])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_file_tells_its_quality(tmp_path: Path, quality: int, mode: str) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(photograph(64, 64)).convert(mode).save(path, quality=quality)
    assert measure_header(path) == {"jpeg_quality": quality}
    assert measure_file(path, only=["jpeg_quality"]) == {"jpeg_quality": quality}
    assert REFERENCE.jpeg_quality(path) == quality


def test_other_files_have_no_jpeg_quality(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    pixels = photograph(300, 300)
    Image.fromarray(pixels).save(path)
    values = measure_file(path)
    assert math.isnan(values.pop("jpeg_quality"))
    np.testing.assert_equal(values, measure(pixels))


def test_the_manual_names_every_measure_and_the_default_limits() -> None:
    manual = (Path(__file__).parents[3] / "docs" / "curation-measures.md").read_text()
    for name in MEASURES:
        assert f"`{name}`" in manual
    lines = manual.splitlines()
    for step, section in Thresholds():
        for field, limit in section:
            bound, _, name = field.partition("_")
            if limit is not None:
                allowed = f"at {'least' if bound == 'min' else 'most'} {limit:g}"
                assert any(f"| `{name}` |" in line and f"| {allowed} |" in line for line in lines)
        assert any(line.startswith(f"| `{step}` |") for line in lines)
