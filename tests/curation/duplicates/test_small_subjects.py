"""One small subject on smooth ground: different ones stay apart, copies are found all the same."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from diffusion4k.curation.duplicates import Fingerprint, find_duplicates, fingerprint

SIZE = (768, 512)
LETTERS = "ABEGHKMNOPQRSTUWXZ38"
COLOURS = [(180, 20, 20), (20, 60, 170), (30, 30, 30), (20, 120, 40)]


def grainy(image: Image.Image, random: np.random.Generator, sigma: float) -> Image.Image:
    pixels = np.asarray(image, float) + random.normal(0, sigma, (image.height, image.width, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def bird(number: int) -> Image.Image:
    """A dark shape somewhere in a hazy sky; shape, place and colours are drawn."""
    random = np.random.default_rng(1000 + number)
    top, bottom = random.integers(120, 200, 3), random.integers(190, 250, 3)
    down = np.linspace(0, 1, SIZE[1])[:, None, None]
    sky = (top * (1 - down) + bottom * down) * np.ones((1, SIZE[0], 1))
    image = Image.fromarray(sky.astype(np.uint8))
    angles, radii = np.sort(random.uniform(0, 2 * np.pi, 8)), random.uniform(7, 45, 8)
    x, y = random.integers(250, 518), random.integers(175, 337)
    corners = [(x + r * np.cos(a), y + r * np.sin(a)) for r, a in zip(radii, angles, strict=True)]
    mask = Image.new("L", SIZE)
    ImageDraw.Draw(mask).polygon(corners, fill=255)
    colour = tuple(random.integers(10, 60, 3).tolist())
    image.paste(Image.new("RGB", SIZE, colour), mask=mask.filter(ImageFilter.GaussianBlur(1)))
    return grainy(image, random, 2.5)


def letter(number: int) -> Image.Image:
    image = Image.new("RGB", SIZE, "white")
    font = ImageFont.load_default(60)
    place = (SIZE[0] // 2, SIZE[1] // 2)
    ImageDraw.Draw(image).text(
        place, LETTERS[number], COLOURS[number % 4], font, anchor="mm", stroke_width=2
    )
    return grainy(image, np.random.default_rng(number), 1)


@pytest.fixture(scope="module", params=[bird, letter])
def images(request: pytest.FixtureRequest) -> list[Image.Image]:
    return [request.param(number) for number in range(20)]


@pytest.fixture(scope="module")
def originals(images: list[Image.Image]) -> list[Fingerprint]:
    return [fingerprint(np.asarray(image)) for image in images]


def test_different_subjects_are_no_duplicates(originals: list[Fingerprint]) -> None:
    assert find_duplicates(originals).members() == []


def reencoded(image: Image.Image) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90)
    return Image.open(file)


@pytest.mark.parametrize(
    "change",
    [
        reencoded,
        lambda image: image.resize((SIZE[0] // 2, SIZE[1] // 2), Image.Resampling.LANCZOS),
        lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        lambda image: image.point(lambda value: value * 0.88),
    ],
    ids=["re-encoded", "resized", "mirrored", "darker"],
)
def test_copies_are_found(
    images: list[Image.Image],
    originals: list[Fingerprint],
    change: Callable[[Image.Image], Image.Image],
) -> None:
    chosen = range(0, 20, 4)
    copies = [fingerprint(np.asarray(change(images[n]).convert("RGB"))) for n in chosen]
    groups = find_duplicates([*originals, *copies])
    assert groups.members() == [[n, 20 + k] for k, n in enumerate(chosen)]


def test_crops_of_birds_are_found() -> None:
    """Of another size, a subject's finest detail differs: what is coarser must agree."""
    birds = [bird(number) for number in range(0, 20, 4)]
    crops = [image.crop((60, 40, 700, 480)) for image in birds]
    groups = find_duplicates([fingerprint(np.asarray(image)) for image in [*birds, *crops]])
    assert groups.members() == [[n, 5 + n] for n in range(5)]
