"""Images of one prompt in several aspect ratios and seeds, at one height (supplement, Fig. 11)."""

from collections.abc import Sequence

from PIL import Image

from diffusion4k.benchmark.figures.canvas import (
    GAP,
    SOFT,
    below,
    beside,
    framed,
    text_block,
    text_size,
)
from diffusion4k.data.images import open_rgb
from diffusion4k.errors import Diffusion4kError
from diffusion4k.imagesets.models import ImageSetEntry

__all__ = ["draw_variations", "variations_of"]

_TALLEST = 0.4
"""Height of a line over the figure's width, so that two upright images do not fill a page."""


def variations_of(entries: Sequence[ImageSetEntry]) -> list[list[ImageSetEntry]]:
    """The images of each prompt that has at least two.

    Raises:
        Diffusion4kError: there is no such prompt.
    """
    groups: dict[str, list[ImageSetEntry]] = {}
    for entry in entries:
        if entry.prompt:
            groups.setdefault(entry.prompt, []).append(entry)
    found = [group for group in groups.values() if len(group) > 1]
    if not found:
        folder = entries[0].path.parent
        raise Diffusion4kError(
            f"{folder}: no prompt has two images: make some with `diffusion4k generate --seed`"
        )
    return found


def draw_variations(groups: Sequence[Sequence[ImageSetEntry]], *, width: int = 2400) -> Image.Image:
    """The figure, `width` pixels wide: a line of images for each prompt, and the prompt below.

    Raises:
        Diffusion4kError: an image that cannot be read.
    """
    inner, size = width - 2 * GAP, text_size(width)
    blocks = []
    for group in groups:
        images = [open_rgb(entry.path) for entry in group]
        ratios = [image.width / image.height for image in images]
        height = int(min((inner - GAP * (len(images) - 1)) / sum(ratios), _TALLEST * inner))
        cells = [
            _cell(image, max(1, int(height * ratio)), height, _label(image, entry), size)
            for image, ratio, entry in zip(images, ratios, group, strict=True)
        ]
        blocks += [beside(cells), text_block(group[0].prompt, inner, size)]
    return framed(below(blocks), GAP)


def _cell(image: Image.Image, width: int, height: int, label: str, size: int) -> Image.Image:
    seen = image.resize((width, height), Image.Resampling.LANCZOS)
    return below([seen, text_block(label, width, round(0.85 * size), SOFT)], GAP // 2)


def _label(image: Image.Image, entry: ImageSetEntry) -> str:
    seed = "" if entry.seed is None else f", seed {entry.seed}"
    return f"{image.width}x{image.height}{seed}"
