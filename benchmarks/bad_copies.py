"""Made-bad copies of a photograph, one function per kind of damage; all take and give RGB uint8."""

import io
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage, signal

__all__ = ["CLASSES", "GOOD", "copies", "jpeg"]

Pixels = NDArray[np.uint8]
Kernel = Image.Resampling

GOOD = "good"
CLASSES = ("defocus", "motion", "upscaled", "compressed", "exposure", "noise", "borders")
MOTIONS = ((9, 57), (11, 23), (21, 115), (41, 0), (15, 90))  # pixels, degrees
FRAMES: dict[str, tuple[tuple[float, float, float, float], tuple[int, int, int]]] = {
    # Top, bottom, left and right as shares of the side, and the colour.
    "white frame": ((0.05, 0.05, 0.05, 0.05), (255, 255, 255)),
    "black frame": ((0.02, 0.02, 0.02, 0.02), (0, 0, 0)),
    "coloured frame": ((0.08, 0.08, 0.08, 0.08), (150, 60, 90)),
    "letterbox": ((0.1, 0.1, 0, 0), (0, 0, 0)),
    "white side bars": ((0, 0, 0.05, 0.05), (255, 255, 255)),
}


def copies(pixels: Pixels) -> Iterator[tuple[str, str, Pixels]]:
    """(class, what was done, copy), all but the first as decoded from a JPEG of quality 95."""
    size = pixels.shape[1], pixels.shape[0]
    yield GOOD, "original", pixels
    yield GOOD, "half size", jpeg(resized(pixels, (size[0] // 2, size[1] // 2), Kernel.LANCZOS))
    yield GOOD, "quality 85", jpeg(pixels, 85)
    for sigma in (1.5, 2, 3, 5):
        blurred = ndimage.gaussian_filter(pixels.astype(np.float32), (sigma, sigma, 0))
        yield "defocus", f"Gaussian, sigma {sigma}", jpeg(eight_bits(blurred))
    yield "defocus", "disk, radius 4", jpeg(convolved(pixels, disk(4)))
    for length, angle in MOTIONS:
        yield "motion", f"{length} px, {angle} deg", jpeg(convolved(pixels, line(length, angle)))
    for factor in (2, 4):
        small = resized(pixels, (size[0] // factor, size[1] // factor), Kernel.LANCZOS)
        for kernel in (Kernel.NEAREST, Kernel.BILINEAR, Kernel.BICUBIC, Kernel.LANCZOS):
            yield "upscaled", f"x{factor} {kernel.name.lower()}", jpeg(resized(small, size, kernel))
    at_20 = jpeg(pixels, 20)
    yield "compressed", "quality 20", at_20
    yield "compressed", "quality 20, then 95", jpeg(at_20)
    yield "compressed", "quality 20, cropped, then 95", jpeg(at_20[3:, 5:])
    for stops in (2, 3, -3, -4):
        yield "exposure", f"{stops:+d} stops", jpeg(exposed(pixels, stops))
    for sigma in (10, 20):
        random = np.random.default_rng(0).normal(0, sigma, pixels.shape)
        yield "noise", f"sigma {sigma}", jpeg(eight_bits(pixels + random))
    photons = np.random.default_rng(0).poisson(pixels / 2.0)
    yield "noise", "shot noise, 127 photons at white", jpeg(eight_bits(photons * 2.0))
    for name, (shares, colour) in FRAMES.items():
        yield "borders", name, jpeg(framed(pixels, shares, colour))
    yield "borders", "white frame, round corners", jpeg(rounded(pixels, 0.04))


def jpeg(pixels: Pixels, quality: int = 95) -> Pixels:
    """What is left after saving as a JPEG of 4:2:0."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def eight_bits(values: NDArray) -> Pixels:
    return np.rint(values).clip(0, 255).astype(np.uint8)


def resized(pixels: Pixels, size: tuple[int, int], kernel: Kernel) -> Pixels:
    return np.asarray(Image.fromarray(pixels).resize(size, kernel))


def convolved(pixels: Pixels, kernel: NDArray) -> Pixels:
    reach = kernel.shape[0] // 2
    padded = np.pad(pixels, ((reach, reach), (reach, reach), (0, 0)), mode="reflect")
    return eight_bits(
        signal.oaconvolve(padded.astype(np.float32), kernel[..., None], mode="valid", axes=(0, 1))
    )


def disk(radius: int) -> NDArray[np.float32]:
    """An aperture out of focus."""
    y, x = np.mgrid[-radius - 1 : radius + 2, -radius - 1 : radius + 2]
    kernel = np.clip(radius + 0.5 - np.hypot(x, y), 0, 1)
    return (kernel / kernel.sum()).astype(np.float32)


def line(length: int, degrees: float) -> NDArray[np.float32]:
    """A straight shake, spread over the four pixels around each of its points."""
    reach = length // 2 + 1
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1))
    for along in np.linspace(-length / 2, length / 2, 20 * length):
        x = reach + along * np.cos(np.radians(degrees))
        y = reach + along * np.sin(np.radians(degrees))
        left, top = min(int(x), 2 * reach - 1), min(int(y), 2 * reach - 1)
        kernel[top : top + 2, left : left + 2] += np.outer(
            [top + 1 - y, y - top], [left + 1 - x, x - left]
        )
    return (kernel / kernel.sum()).astype(np.float32)


def exposed(pixels: Pixels, stops: float) -> Pixels:
    """So many stops off a full exposure, which has the 99.5th percentile at white."""
    encoded = pixels / np.float32(255)
    light = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    white = np.percentile(light.max(axis=2), 99.5)
    light = np.clip(light / white * 2.0**stops, 0, 1)
    return eight_bits(
        255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    )


def framed(
    pixels: Pixels, shares: tuple[float, float, float, float], colour: tuple[int, int, int]
) -> Pixels:
    """The picture, made smaller where all four sides get a frame, cut off behind bars where not."""
    height, width = pixels.shape[:2]
    top, bottom = (round(share * height) for share in shares[:2])
    left, right = (round(share * width) for share in shares[2:])
    copy = np.empty_like(pixels)
    copy[:] = np.array(colour, np.uint8)
    inside = copy[top : height - bottom, left : width - right]
    if all(shares):
        inside[:] = resized(pixels, (inside.shape[1], inside.shape[0]), Kernel.LANCZOS)
    else:
        inside[:] = pixels[top : height - bottom, left : width - right]
    return copy


def rounded(pixels: Pixels, share: float) -> Pixels:
    """A photo print: white frame, corners cut round."""
    copy = Image.fromarray(framed(pixels, (share,) * 4, (255, 255, 255)))
    width, height = copy.size
    mask = Image.new("L", copy.size, 0)
    box = (share * width, share * height, width - share * width, height - share * height)
    ImageDraw.Draw(mask).rounded_rectangle(box, radius=0.05 * height, fill=255)
    return np.asarray(Image.composite(copy, Image.new("RGB", copy.size, "white"), mask))
