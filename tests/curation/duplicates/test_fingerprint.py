"""Hashes of real photographs: what changes them and what does not."""

import hashlib
import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.fft
from PIL import Image, ImageEnhance

from diffusion4k.curation.duplicates import Fingerprint, fingerprint, pixel_hash
from diffusion4k.curation.duplicates.thumbnail import SIDE, from_jpeg, thumbnail_of, to_jpeg
from diffusion4k.curation.duplicates.windows import BITS, MIRROR, blurred, sample, windows_of

Photographs = dict[str, Image.Image]
Fingerprints = dict[str, Fingerprint]


def distance(a: Fingerprint, b: Fingerprint, mask: object = 0) -> int:
    """Of the whole pictures, in bits."""
    return int(np.bitwise_count(a.hashes[0] ^ b.hashes[0] ^ np.uint64(mask)).sum())


def of(image: Image.Image) -> Fingerprint:
    return fingerprint(np.asarray(image))


def test_pixel_hash_is_that_of_size_and_pixels() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    content = (4).to_bytes(8, "little") + (6).to_bytes(8, "little") + (3).to_bytes(8, "little")
    assert pixel_hash(pixels) == hashlib.sha256(content + pixels.tobytes()).hexdigest()
    assert pixel_hash(pixels.reshape(6, 4, 3)) != pixel_hash(pixels)
    assert pixel_hash(np.asfortranarray(pixels)) == pixel_hash(pixels)


def test_thumbnail_is_the_resized_picture(photographs: Photographs) -> None:
    for name, image in photographs.items():
        scale = SIDE / np.sqrt(image.width * image.height)
        size = round(image.width * scale), round(image.height * scale)
        expected = np.asarray(image.convert("L").resize(size, Image.Resampling.BILINEAR), int)
        found = thumbnail_of(np.asarray(image)).astype(int)
        assert found.shape == expected.shape
        # The filters are not quite the same, as whole blocks are averaged first.
        assert np.abs(found - expected).mean() < 5, name
        assert np.abs(found.mean() - expected.mean()) < 1, name


@pytest.mark.parametrize("sigma_level", [1, 4, 9])
def test_blurring_is_gaussian(fingerprints: Fingerprints, sigma_level: int) -> None:
    from scipy.ndimage import gaussian_filter

    picture = from_jpeg(fingerprints["dogs"].thumbnail).astype(np.float32)
    sigma = 1.6 * 2 ** ((sigma_level - 1) / 3)
    expected = gaussian_filter(picture, sigma, mode="reflect", truncate=6)
    assert np.abs(blurred(picture)[sigma_level] - expected).max() < 0.1


def test_bits_are_signs_of_the_cosine_transform(fingerprints: Fingerprints) -> None:
    thumbnail = from_jpeg(fingerprints["wine"].thumbnail)
    one = windows_of(thumbnail)
    samples = sample(blurred(thumbnail.astype(np.float32)), one.places, 32)
    coefficients = scipy.fft.dctn(samples, axes=(1, 2), norm="ortho")
    places = sorted(((v, u) for v in range(16) for u in range(16)), key=lambda p: (sum(p), p[1]))
    for k, (v, u) in enumerate(places[1 : BITS + 1]):
        bits = one.hashes[:, k // 64] >> np.uint64(k % 64) & np.uint64(1)
        sure = np.abs(coefficients[:, v, u]) > 1e-2
        assert (bits[sure] == (coefficients[sure, v, u] > 0)).all()


@pytest.mark.parametrize("quality", [30, 60, 95])
def test_re_encoding_changes_few_bits(
    photographs: Photographs, fingerprints: Fingerprints, quality: int
) -> None:
    for name, image in photographs.items():
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality)
        copy = of(Image.open(file))
        assert copy.pixel_hash != fingerprints[name].pixel_hash
        assert distance(copy, fingerprints[name]) <= 15, name


@pytest.mark.parametrize("scale", [0.25, 0.7, 2])
def test_resizing_changes_few_bits(
    photographs: Photographs, fingerprints: Fingerprints, scale: float
) -> None:
    for name in ("aitzgorri", "dandelion", "wine"):
        image = photographs[name]
        size = round(image.width * scale), round(image.height * scale)
        assert distance(of(image.resize(size)), fingerprints[name]) <= 15, name


def test_brightness_and_contrast_change_few_bits(
    photographs: Photographs, fingerprints: Fingerprints
) -> None:
    for name, image in photographs.items():
        changed = ImageEnhance.Contrast(ImageEnhance.Brightness(image).enhance(0.9)).enhance(0.9)
        assert distance(of(changed), fingerprints[name]) <= 15, name


def test_the_mirror_image_has_the_mirrored_hashes(fingerprints: Fingerprints) -> None:
    for name, one in fingerprints.items():
        thumbnail = from_jpeg(one.thumbnail)
        each, windows = windows_of(thumbnail), windows_of(np.ascontiguousarray(thumbnail[:, ::-1]))
        width = thumbnail.shape[1]
        places = windows.places * [-1, 1, 1, 1] + [width, 0, 0, 0]
        apart = np.abs(places[:, None] - each.places[None]).max(axis=2)
        i, j = np.nonzero(apart < 0.01)
        assert len(i) >= 0.8 * len(each.hashes), name
        off = np.bitwise_count(windows.hashes[i] ^ each.hashes[j] ^ MIRROR).sum(axis=1)
        assert off.mean() < 1, name


def test_different_photographs_differ(fingerprints: Fingerprints) -> None:
    listed = list(fingerprints.values())
    for number, a in enumerate(listed):
        for b in listed[:number]:
            assert distance(a, b) > 30


def test_a_crop_shares_windows(photographs: Photographs, fingerprints: Fingerprints) -> None:
    for name in ("dogs", "stream", "picosdeeuropa"):
        image = photographs[name]
        width, height = image.size
        crop = of(image.crop((width // 5, height // 10, width * 9 // 10, height * 4 // 5)))
        off = np.bitwise_count(crop.hashes[:, None] ^ fingerprints[name].hashes[None]).sum(axis=2)
        assert (off.min(axis=1) <= 15).sum() >= 3, name


def test_columns_come_back_through_parquet(fingerprints: Fingerprints) -> None:
    columns = [each.to_columns() for each in fingerprints.values()]
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(columns), file)
    for row, each in zip(pq.read_table(file).to_pylist(), fingerprints.values(), strict=True):
        back = Fingerprint.from_columns(**row)
        assert back.pixel_hash == each.pixel_hash
        assert (back.hashes == each.hashes).all()
        assert (back.places == each.places).all()
        assert back.thumbnail == each.thumbnail
        assert sum(len(value) for value in row.values()) < 16 * 1024


def test_the_thumbnail_outlives_jpeg(photographs: Photographs) -> None:
    thumbnail = thumbnail_of(np.asarray(photographs["dogs"]))
    assert np.abs(from_jpeg(to_jpeg(thumbnail)).astype(int) - thumbnail).mean() < 3


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (5, 7), (9, 9)])
def test_tiny_pictures_and_strips_have_fingerprints(shape: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    back = Fingerprint.from_columns(**fingerprint(pixels).to_columns())  # type: ignore[arg-type]
    assert back.pixel_hash == pixel_hash(pixels)


def test_a_flat_picture_has_no_hashes() -> None:
    assert len(fingerprint(np.full((300, 400, 3), 90, np.uint8)).hashes) == 0


def test_what_is_no_picture_is_refused() -> None:
    for wrong in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(ValueError, match="allowed is uint8"):
            fingerprint(wrong)
