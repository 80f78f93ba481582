"""The co-occurrence metrics against scikit-image and OpenCV."""

import hashlib
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from skimage.feature import graycomatrix, graycoprops
from skimage.measure import shannon_entropy

from diffusion4k.data.folder import photo_folder
from diffusion4k.data.images import open_pixels
from diffusion4k.errors import Diffusion4kError
from diffusion4k.metrics import glcm_entropy, glcm_map, glcm_properties, glcm_score
from diffusion4k.metrics.glcm import PROPERTIES, GlcmMap
from diffusion4k.metrics.kernels.glcm import grey_levels

# cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY) of opencv-python-headless 4.10.0 and 5.0.0; the first five
# are colours where OpenCV's older 14-bit coefficients would round the other way.
OPENCV_GREY = [
    ((0, 0, 250), 28),
    ((0, 1, 201), 23),
    ((0, 2, 152), 18),
    ((0, 3, 217), 26),
    ((0, 4, 168), 21),
    ((217, 163, 130), 175),
    ((69, 78, 10), 68),
    ((208, 166, 233), 186),
    ((143, 239, 71), 191),
    ((8, 195, 186), 138),
    ((220, 5, 138), 84),
    ((1, 31, 2), 19),
    ((98, 117, 255), 127),
    ((134, 96, 79), 105),
]
# SHA-256 of OpenCV's grey values of all 2^24 colours, red slowest and blue fastest.
OPENCV_ALL_GREY = "6d4f6d7f4301c52d2672db66451b4a06a5502bef956dd81b577660f956f410ae"


def opencv_grey(rgb: np.ndarray) -> np.ndarray:
    red, green, blue = np.moveaxis(rgb.astype(np.int64), -1, 0)
    return ((red * 9798 + green * 19235 + blue * 3735 + 16384) >> 15).astype(np.uint8)


def scikit_image(rgb: np.ndarray) -> dict[str, np.ndarray]:
    """All metrics of every patch, as the definitions read."""
    levels = opencv_grey(rgb) // 4
    shape = levels.shape[0] // 64, levels.shape[1] // 64
    found: dict[str, list[float]] = {name: [] for name in GlcmMap._fields}
    for y in range(0, levels.shape[0] - 63, 64):
        for x in range(0, levels.shape[1] - 63, 64):
            patch = levels[y : y + 64, x : x + 64]
            angles = [0, np.pi / 4, np.pi / 2, 3 * np.pi / 4]
            p = graycomatrix(patch, [1, 2, 3, 4], angles, levels=64, normed=True)
            found["score"].append(shannon_entropy(p))
            found["entropy"].append(graycoprops(p, "entropy").mean() / np.log(2))
            for name in PROPERTIES:
                found[name].append(graycoprops(p, "ASM" if name == "asm" else name).mean())
    return {name: np.reshape(values, shape) for name, values in found.items()}


def synthetic_photograph(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth shades, an edge, a textured and a flat part: patches of many kinds."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    image = 110 + 60 * np.sin(x / 97) + 50 * np.cos(y / 53 + x / 211)
    image[:, width // 2 :] += rng.normal(0, 12, (height, width - width // 2))
    image[: height // 3, : width // 3] = 200
    rgb = np.stack([image, 0.8 * image + 20, 255 - image], axis=-1)
    return rgb.clip(0, 255).astype(np.uint8)


def test_grey_of_all_colours_is_opencvs() -> None:
    digest = hashlib.sha256()
    rgb = np.empty((256, 256, 3), np.uint8)
    rgb[..., 1], rgb[..., 2] = np.mgrid[:256, :256]
    levels = np.empty((256, 256), np.uint8)
    for red in range(256):
        rgb[..., 0] = red
        expected = opencv_grey(rgb)
        digest.update(expected.tobytes())
        grey_levels(rgb, levels)
        np.testing.assert_array_equal(levels, expected // 4)
    assert digest.hexdigest() == OPENCV_ALL_GREY


@pytest.mark.parametrize(("colour", "grey"), OPENCV_GREY)
def test_grey_table(colour: tuple[int, int, int], grey: int) -> None:
    assert opencv_grey(np.array(colour)) == grey


@pytest.mark.parametrize("size", [(64, 64), (192, 320), (200, 150)])
def test_equals_scikit_image(size: tuple[int, int]) -> None:
    rgb = synthetic_photograph(*size)
    expected, found = scikit_image(rgb), glcm_map(rgb)._asdict()
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=0, atol=1e-10, err_msg=name)
    assert glcm_score(rgb) == pytest.approx(np.mean(expected["score"]), abs=1e-11)
    assert glcm_entropy(rgb) == pytest.approx(np.mean(expected["entropy"]), abs=1e-11)
    means = {name: pytest.approx(expected[name].mean(), abs=1e-10) for name in PROPERTIES}
    assert glcm_properties(rgb) == means


@settings(max_examples=40)
@given(
    arrays(np.uint8, (64, 64), elements=st.sampled_from([0, 3, 4, 7, 128, 255])),
    st.sampled_from([1, 2, 16, 64]),
)
def test_equals_scikit_image_on_any_patch(patch: np.ndarray, coarse: int) -> None:
    # Blocks of equal pixels reach the large counts that single pixels never do.
    patch = np.kron(patch[: 64 // coarse, : 64 // coarse], np.ones((coarse, coarse), np.uint8))
    rgb = np.repeat(patch[..., None], 3, axis=2)
    found = glcm_map(rgb)._asdict()
    for name, values in scikit_image(rgb).items():
        np.testing.assert_allclose(found[name], values, rtol=0, atol=1e-9, err_msg=name)


@pytest.mark.slow
def test_equals_scikit_image_on_a_thousand_patches_of_photographs() -> None:
    patches = 0
    for path in sorted(photo_folder("pocket").glob("*.jpg"))[::2]:
        rgb = open_pixels(path)[: 8 * 64, : 25 * 64]
        found = glcm_map(rgb)._asdict()
        for name, values in scikit_image(rgb).items():
            np.testing.assert_allclose(found[name], values, rtol=0, atol=1e-9, err_msg=name)
        patches += found["score"].size
    assert patches >= 1000


def test_remainder_strips_do_not_count() -> None:
    rgb = synthetic_photograph(64, 128)
    padded = np.pad(rgb, ((0, 63), (0, 63), (0, 0)), constant_values=77)
    assert glcm_score(padded) == glcm_score(rgb)


def test_flat_image_and_noise() -> None:
    flat = np.full((64, 64, 3), 90, np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    photograph = synthetic_photograph(256, 256)
    # One entry of each of the 16 matrices is 1, all others are 0.
    p = 16 / 65536
    assert glcm_score(flat) == pytest.approx(-p * np.log2(p) - (1 - p) * np.log2(1 - p), abs=1e-12)
    assert glcm_entropy(flat) == 0
    assert glcm_score(noise) > glcm_score(photograph) > glcm_score(flat)


def test_views_and_pil_images_give_the_same() -> None:
    rgb = synthetic_photograph(128, 192)
    view = np.ascontiguousarray(rgb[::-1, ::-1])[::-1, ::-1]
    view.flags.writeable = False
    assert glcm_score(view) == glcm_score(rgb) == glcm_score(Image.fromarray(rgb))


def test_threads_do_not_disturb_each_other() -> None:
    images = [synthetic_photograph(128, 256, seed) for seed in range(4)]
    expected = [glcm_score(image) for image in images]
    found = [[0.0] * 5 for _ in images]

    def work(n: int) -> None:
        found[n] = [glcm_score(images[n]) for _ in range(5)]

    threads = [threading.Thread(target=work, args=(n,)) for n in range(len(images))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[value] * 5 for value in expected]


@pytest.mark.parametrize("shape", [(63, 64, 3), (64, 10, 3)])
def test_too_small(shape: tuple[int, ...]) -> None:
    with pytest.raises(Diffusion4kError, match="at least one patch of 64x64"):
        glcm_score(np.zeros(shape, np.uint8))


def test_deep_pil_images_are_refused() -> None:
    # Pillow would clip all above 255.
    with pytest.raises(Diffusion4kError, match="8 bits per channel"):
        glcm_score(Image.fromarray(np.full((64, 64), 40_000, np.uint16)))


@pytest.mark.parametrize(
    "array",
    [np.zeros((64, 64), np.uint8), np.zeros((64, 64, 4), np.uint8), np.zeros((64, 64, 3))],
    ids=["grey", "RGBA", "float"],
)
def test_other_arrays_are_refused(array: np.ndarray) -> None:
    with pytest.raises(Diffusion4kError, match=r"takes uint8 \(H, W, 3\)"):
        glcm_score(array)
