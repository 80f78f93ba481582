"""Images of several models from the same prompts, with the same places marked and enlarged.

In the manner of the supplement's Fig. 7 to 9: below each whole image its marked patches, every
pixel of them as a square of whole pixels. Patches of all images are marked yellow but for those of
the last, which are red. Of images of different sizes the patches lie at the same relative place
and have the same number of pixels; the figure says so.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from diffusion4k.benchmark.figures.canvas import (
    GAP,
    SOFT,
    below,
    beside,
    framed,
    magnified,
    scaled,
    text_block,
    text_size,
)
from diffusion4k.compare.rows import Row
from diffusion4k.data.images import open_rgb
from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.metrics.places import Box, busiest_places

__all__ = ["LAST", "OTHERS", "Patch", "complete", "draw_side_by_side", "parse_patch", "same_place"]

OTHERS, LAST = "#ffd400", "#e3122d"
"""Yellow and red."""

_AUTOMATIC = 2  # patches
_LEAST_FACTOR = 2  # of patches chosen automatically


class Patch(NamedTuple):
    """A square in pixels of the first model's image."""

    left: int
    top: int
    side: int


def parse_patch(text: str) -> Patch:
    """`X,Y,SIDE`.

    Raises:
        UsageError: anything else.
    """
    try:
        left, top, side = (int(number) for number in text.split(","))
    except ValueError:
        raise UsageError(
            f"--patch {text}: give X,Y,SIDE in pixels, for example 640,320,128"
        ) from None
    if left < 0 or top < 0 or side < 1:
        raise UsageError(f"--patch {text}: give X and Y from 0 on, and SIDE from 1 on")
    return Patch(left, top, side)


def same_place(patch: Patch, size: tuple[int, int], other: tuple[int, int]) -> Box:
    """The box of as many pixels around the same relative place in an image of another size."""
    left, top = (
        min(max(round((start + patch.side / 2) * there / here - patch.side / 2), 0),
            there - patch.side)
        for start, here, there in zip(patch[:2], size, other, strict=True)
    )  # fmt: skip
    return left, top, left + patch.side, top + patch.side


def draw_side_by_side(
    rows: Sequence[Row],
    names: Sequence[str],
    *,
    patches: Sequence[Patch] = (),
    width: int = 2400,
) -> Image.Image:
    """The figure, `width` pixels wide; each row has an image of every name.

    Arguments:
        patches: the same for every row; without them the busiest places of each row's images.

    Raises:
        UsageError: a patch that does not lie in an image, or not in the figure.
        Diffusion4kError: an image that cannot be read.
    """
    inner = width - 2 * GAP
    cell = (inner - GAP * (len(names) - 1)) // len(names)
    size = text_size(width)
    head = beside([text_block(name, cell, round(1.2 * size)) for name in names])
    blocks = [head]
    said: dict[str, None] = {}
    for row in rows:
        paths = [entry.path for entry in row.entries if entry]
        images = [open_rgb(path) for path in paths]
        chosen = list(patches) or _busiest(images, cell)
        places = [_boxes(chosen, paths, images, number) for number in range(len(images))]
        colours = [OTHERS] * (len(images) - 1) + [LAST]
        columns = [
            _column(image, boxes, colour, cell)
            for image, boxes, colour in zip(images, places, colours, strict=True)
        ]
        blocks += [beside(columns), text_block(row.prompt, inner, size)]
        said |= dict.fromkeys(_notes(images, chosen, cell))
    blocks.append(text_block(" ".join(said), inner, round(0.85 * size), SOFT))
    return framed(below(blocks), GAP)


def _busiest(images: Sequence[Image.Image], cell: int) -> list[Patch]:
    side = max(1, _space(cell, _AUTOMATIC) // _LEAST_FACTOR)
    boxes = busiest_places([np.asarray(image) for image in images], side, _AUTOMATIC)
    # Of an image smaller than the smallest patch it is the largest square that all images have.
    least = min(side, *(min(image.size) for image in images))
    return [Patch(left, top, min(right - left, least)) for left, top, right, _ in boxes]


def _boxes(
    patches: Sequence[Patch], paths: Sequence[Path], images: Sequence[Image.Image], number: int
) -> list[Box]:
    first, image = images[0], images[number]
    for patch in patches:
        right, bottom = patch.left + patch.side, patch.top + patch.side
        inside = number > 0 or (right <= image.width and bottom <= image.height)
        if not inside or patch.side > min(image.size):
            raise UsageError(
                f"{paths[number]}: {image.width}x{image.height} does not hold the patch "
                f"{','.join(map(str, patch))}: choose one inside"
            )
    return [same_place(patch, first.size, image.size) for patch in patches]


def _column(image: Image.Image, boxes: Sequence[Box], colour: str, cell: int) -> Image.Image:
    whole = scaled(image, cell)
    pen, line = ImageDraw.Draw(whole), _line(cell)
    for box in boxes:
        corners = [round(side * cell / image.width) for side in box]
        pen.rectangle([c + o for c, o in zip(corners, (-line, -line, line, line), strict=True)],
                      outline=colour, width=line)  # fmt: skip
    factors = [_factor(box[2] - box[0], len(boxes), cell) for box in boxes]
    enlarged = [
        framed(magnified(image.crop(box), factor), line, colour)
        for box, factor in zip(boxes, factors, strict=True)
    ]
    return below([whole, beside(enlarged, GAP // 2)], GAP // 2)


def _notes(images: Sequence[Image.Image], patches: Sequence[Patch], cell: int) -> list[str]:
    notes = []
    for patch in patches:
        factor = _factor(patch.side, len(patches), cell)
        notes.append(f"Patches of {patch.side}x{patch.side} pixels, enlarged {factor} times.")
    sizes = dict.fromkeys(f"{image.width}x{image.height}" for image in images)
    if len(sizes) > 1:
        notes.append(
            f"Sizes differ ({', '.join(sizes)}): patches lie at the same relative place and have "
            "the same number of pixels."
        )
    return notes


def _factor(side: int, count: int, cell: int) -> int:
    space = _space(cell, count)
    if side > space:
        raise UsageError(
            f"a patch of {side} pixels a side does not fit into {space}: choose a smaller one, "
            "fewer of them, or a larger --width"
        )
    return space // side


def _space(cell: int, count: int) -> int:
    """Pixels a side for each of `count` patches in a cell."""
    return (cell - (GAP // 2) * (count - 1)) // count - 2 * _line(cell)


def _line(cell: int) -> int:
    return max(2, cell // 200)


def complete(rows: Sequence[Row], most: int) -> list[Row]:
    """The first `most` rows in which every model has an image.

    Raises:
        Diffusion4kError: there is none.
    """
    whole = [row for row in rows if all(row.entries)]
    if not whole:
        raise Diffusion4kError("no prompt of which every folder has an image: nothing to draw")
    return whole[:most]
