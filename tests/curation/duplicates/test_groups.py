"""Groups: real copies, pictures that only look alike, components against SciPy."""

import io
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from diffusion4k.curation.duplicates import Fingerprint, find_duplicates, fingerprint, kept
from diffusion4k.curation.duplicates.groups import Union

MIRROR = Image.Transpose.FLIP_LEFT_RIGHT


def of(image: Image.Image) -> Fingerprint:
    return fingerprint(np.asarray(image))


def reencoded(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file)


def crop(image: Image.Image, left: float, top: float, right: float, bottom: float) -> Image.Image:
    width, height = image.size
    return image.crop(
        (int(left * width), int(top * height), int((1 - right) * width), int((1 - bottom) * height))
    )


@pytest.mark.parametrize("seed", [0, 1])
def test_copies_are_found_and_nothing_else(
    photographs: dict[str, Image.Image], fingerprints: dict[str, Fingerprint], seed: int
) -> None:
    random = np.random.default_rng(seed)
    sources, pictures = list(fingerprints), list(fingerprints.values())
    for name, image in photographs.items():
        if name == "gradient":
            continue  # nothing in it to tell it by, see below
        cropped = crop(image, *random.uniform(0.05, 0.25, 4))
        smaller = cropped.resize((cropped.width * 2 // 3, cropped.height * 2 // 3))
        copies = [image, image.transpose(MIRROR), reencoded(image, 40), cropped]
        copies += [cropped.transpose(MIRROR), reencoded(smaller.transpose(MIRROR), 50)]
        pictures += [of(copy) for copy in copies]
        sources += [name] * len(copies)
    groups = find_duplicates(pictures)
    by_group: dict[int, set[str]] = {}
    for source, label in zip(sources, groups.labels.tolist(), strict=True):
        by_group.setdefault(label, set()).add(source)
    assert all(len(names) == 1 for names in by_group.values())
    alone = [group for group in Counter(groups.labels.tolist()).values() if group == 1]
    assert len(alone) <= 3  # the gradient, and 2 of 48 copies
    assert len(groups.links) == len(pictures) - len(by_group)


def test_links_say_why(photographs: dict[str, Image.Image]) -> None:
    image = photographs["dogs"]
    pictures = [of(image), of(image), of(reencoded(image.transpose(MIRROR), 80))]
    links = find_duplicates(pictures).links
    assert links[0] == (0, 1, 1.0, False)
    assert (links[1].i, links[1].j, links[1].mirrored) == (0, 2, True)
    assert 0.9 < links[1].correlation <= 1


def test_parts_of_one_scene_are_not_duplicates(photographs: dict[str, Image.Image]) -> None:
    for image in photographs.values():
        parts = [crop(image, 0, 0, 0.5, 0), crop(image, 0.5, 0, 0, 0)]
        assert find_duplicates([of(part) for part in parts]).members() == []


def gradient(down: float, across: float, size: int = 256) -> np.ndarray:
    y, x = np.mgrid[:size, :size] / size
    grey = (40 + 150 * (down * y + across * x)).round().astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def test_flat_tiny_and_gradient_pictures_stay_apart() -> None:
    flat = [np.full((200, 300, 3), level, np.uint8) for level in (0, 1, 90, 255)]
    flat += [np.full((300, 200, 3), 90, np.uint8)]
    tiny = [np.full((1, 1, 3), 8, np.uint8), np.full((2, 2, 3), 8, np.uint8)]
    gradients = [gradient(1, 0), gradient(0.9, 0.1), gradient(0, 1), gradient(0.5, 0.5)]
    gradients += [gradient(0.8, 0), gradient(1, 0, 400)]
    pictures = [fingerprint(pixels) for pixels in (*flat, *tiny, *gradients)]
    assert find_duplicates(pictures).members() == []
    # Equal pixels are all that is known of them.
    again = find_duplicates([*pictures, *pictures])
    assert again.members() == [[k, k + len(pictures)] for k in range(len(pictures))]


def test_a_shared_logo_makes_no_group(photographs: dict[str, Image.Image]) -> None:
    logo = photographs["fig"].resize((160, 160))
    pictures = []
    for name in ("stream", "dogs", "wine", "sunset", "dandelion"):
        image = photographs[name].copy()
        image.thumbnail((800, 800))
        image.paste(logo, (20, 20))
        pictures.append(of(image))
    groups = find_duplicates(pictures)
    assert groups.compared > 0
    assert groups.members() == []


@pytest.mark.parametrize("count", [0, 1])
def test_none_and_one(fingerprints: dict[str, Fingerprint], count: int) -> None:
    groups = find_duplicates(list(fingerprints.values())[:count])
    assert groups.labels.tolist() == list(range(count))
    assert groups.links == []


@given(st.lists(st.tuples(st.integers(0, 29), st.integers(0, 29)), max_size=60))
def test_components_are_scipys(pairs: list[tuple[int, int]]) -> None:
    union = Union(30)
    for i, j in pairs:
        union.join(i, j)
    rows, columns = np.array(pairs, int).reshape(-1, 2).T
    graph = coo_array((np.ones(len(pairs)), (rows, columns)), shape=(30, 30))
    _, expected = connected_components(graph, directed=False)
    first = [int(np.flatnonzero(expected == label)[0]) for label in expected]
    assert union.labels().tolist() == first


def test_kept_is_the_largest_then_the_least_compressed_then_the_first() -> None:
    labels = np.array([0, 0, 0, 3, 3, 5, 6, 6])
    names = ["a", "b", "c", "e", "d", "f", "h", "g"]
    pixels = [10, 30, 20, 7, 7, 1, 4, 4]
    size = [9, 1, 9, 5, 6, 0, 2, 2]
    assert [n for n, k in zip(names, kept(labels, names, pixels, size), strict=True) if k] == [
        "b", "d", "f", "g",
    ]  # fmt: skip


def test_of_equal_files_one_with_a_caption_is_kept() -> None:
    labels, names, captions = np.array([0, 0, 0]), ["a", "b", "c"], [None, "a lake", "a boat"]
    assert kept(labels, names, [4] * 3, [2] * 3, captions).tolist() == [False, True, False]
    assert kept(labels, names, [4, 4, 5], [2] * 3, captions).tolist() == [False, False, True]
    assert kept(labels, names, [4] * 3, [3, 2, 2], captions).tolist() == [True, False, False]
