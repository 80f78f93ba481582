"""Where an image has most detail that is no noise: what to enlarge in a figure.

Detail is the GLCM Score of each 64x64 patch, which rewards noise. Noise is known by its spectrum:
its coefficients in the first and the second level of an orthonormal Haar transform have the same
energy, E1 = E2, whereas in photographs E2 is two to five times E1. Each patch's score is multiplied
by E2 / E1 - 1, held between 0 and 1.
"""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from diffusion4k.metrics.glcm import PATCH, glcm_map
from diffusion4k.metrics.images import ImageLike, as_array

__all__ = ["Box", "busiest_places", "detail_map"]

Box: TypeAlias = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels."""

_GREY = (0.299, 0.587, 0.114)


def detail_map(image: ImageLike) -> NDArray[np.float64]:
    """Detail of every 64x64 patch, `(H // 64, W // 64)`; raises as `glcm_map` does."""
    pixels = as_array(image)
    return glcm_map(pixels).score * np.clip(_structure(pixels) - 1, 0, 1)


def busiest_places(images: Sequence[ImageLike], side: int, count: int = 2) -> list[Box]:
    """Squares with most detail in the mean of all images, which do not overlap.

    Boxes are pixels of the first image; of images of other sizes the same relative positions count.
    Their side is `side` rounded down to a multiple of 64, or less if the image is smaller; of an
    image below 64 pixels it is the whole image. There may be fewer than `count`.
    """
    pixels = [as_array(image) for image in images]
    height, width = pixels[0].shape[:2]
    if any(min(each.shape[:2]) < PATCH for each in pixels):
        return [(0, 0, width, height)]
    maps = [detail_map(each) for each in pixels]
    detail = np.mean([_sampled(each, maps[0].shape) for each in maps], 0)
    cells = max(1, min(side // PATCH, *detail.shape))
    windows = np.lib.stride_tricks.sliding_window_view(detail, (cells, cells)).mean((2, 3))
    boxes: list[Box] = []
    free = np.ones_like(windows, bool)
    while len(boxes) < count and free.any():
        # Apart from the others by a side of its own where there is room: two looks, not one.
        apart = free & _away(free.shape, boxes, 2 * cells)
        best = np.where(apart if apart.any() else free, windows, -np.inf).argmax()
        row, column = map(int, np.unravel_index(int(best), windows.shape))
        left, top = column * PATCH, row * PATCH
        boxes.append((left, top, left + cells * PATCH, top + cells * PATCH))
        free &= _away(free.shape, boxes[-1:], cells)
    return boxes


def _away(shape: tuple[int, ...], boxes: Sequence[Box], cells: int) -> NDArray[np.bool_]:
    """Which windows begin at least so many cells above, below or beside every box."""
    away = np.ones(shape, bool)
    for left, top, _, _ in boxes:
        row, column = top // PATCH, left // PATCH
        away[max(0, row - cells + 1) : row + cells, max(0, column - cells + 1) : column + cells] = 0
    return away


def _structure(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """E2 / E1 of every patch."""
    import torch

    from diffusion4k.wavelet import dwt2

    rows, columns = pixels.shape[0] // PATCH, pixels.shape[1] // PATCH
    inside = pixels[: rows * PATCH, : columns * PATCH]
    image = torch.from_numpy(inside @ np.array(_GREY, np.float32))[None, None]
    energies = []
    for level in (1, 2):
        bands = dwt2(image)
        image = bands[:, :1]
        energy = bands[:, 1:].square().mean(1, keepdim=True)
        energies.append(torch.nn.functional.avg_pool2d(energy, PATCH >> level)[0, 0])
    # A flat patch has neither; it has no detail either.
    return (energies[1] / energies[0].clamp_min(1e-6)).double().numpy()


def _sampled(values: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """The map at the relative positions of one of another shape."""
    rows, columns = (
        (np.arange(wanted) + 0.5) * found // wanted
        for wanted, found in zip(shape, values.shape, strict=True)
    )
    return values[np.ix_(rows.astype(int), columns.astype(int))]
