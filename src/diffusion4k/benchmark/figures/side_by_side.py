"""Images of several models from the same prompts, with the same regions marked and enlarged.

In the manner of the supplement's Fig. 7 to 9: below each whole image its marked patches, every
pixel of them as a square. Each mark and the patch that belongs to it have the same number. Patches
of all images are marked yellow but for those of the last, which are red. Of images of different
sizes they show the same part of the picture, by more or fewer pixels; the figure says so.
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
    fitting_size,
    framed,
    magnified,
    scaled,
    tag,
    text_block,
    text_size,
)
from diffusion4k.data.images import open_rgb
from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.imagesets.match import MatchedRow
from diffusion4k.metrics.regions import Box, busiest_places

__all__ = ["LAST", "OTHERS", "Patch", "complete", "draw_side_by_side", "parse_patch", "same_place"]

OTHERS, LAST = "#ffd400", "#e3122d"
"""Yellow and red."""

_AUTOMATIC = 2  # patches
_AUTOMATIC_FACTOR = 2
_LARGEST_PART = 4  # of these patches in the first image's shorter side, at least


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
    """The box at the same relative position in an image of another size, for the same part of it.

    Of another aspect ratio, too, it is a square: the part is the same along one side, and less
    along the other.
    """
    scale = min(there / here for here, there in zip(size, other, strict=True))
    side = max(1, round(patch.side * scale))
    left, top = (
        min(max(round((start + patch.side / 2) * there / here - side / 2), 0), there - side)
        for start, here, there in zip(patch[:2], size, other, strict=True)
    )
    return left, top, left + side, top + side


def draw_side_by_side(
    rows: Sequence[MatchedRow],
    names: Sequence[str],
    *,
    patches: Sequence[Patch] = (),
    width: int = 2400,
    last_differs: bool = True,
) -> Image.Image:
    """The figure, `width` pixels wide; each row has an image of every name.

    Args:
        patches: the same for every row; without them the busiest regions of each row's images.
        last_differs: the last name's patches are marked in a colour of their own.

    Raises:
        UsageError: a patch that does not lie in an image, or not in the figure.
        Diffusion4kError: an image that cannot be read.
    """
    inner = width - 2 * GAP
    cell = (inner - GAP * (len(names) - 1)) // len(names)
    size = text_size(width)
    heading = fitting_size(names, cell, round(1.2 * size))
    head = beside([text_block(name, cell, heading) for name in names])
    blocks = [head]
    said: dict[str, None] = {}
    for row in rows:
        paths = [entry.path for entry in row.entries if entry]
        images = [open_rgb(path) for path in paths]
        chosen = list(patches) or _busiest(images, cell)
        factor, sides = _factor(chosen, cell), [patch.side for patch in chosen]
        places = [_boxes(chosen, paths, images, number) for number in range(len(images))]
        colours = [OTHERS] * (len(images) - 1) + [LAST if last_differs else OTHERS]
        marked = [
            (
                _marked(image, boxes, colour, cell, size),
                _enlarged(image, boxes, colour, [factor * side for side in sides], cell, size),
            )
            for image, boxes, colour in zip(images, places, colours, strict=True)
        ]
        wholes, enlarged = zip(*marked, strict=True)
        block = below([beside(_centred(wholes)), beside(_widened(enlarged, cell))], GAP // 2)
        blocks += [block, text_block(row.prompt, inner, size)]
        said |= dict.fromkeys(_notes(images, chosen, factor))
    blocks.append(text_block(" ".join(said), inner, round(0.85 * size), SOFT))
    return framed(below(blocks), GAP)


def _busiest(images: Sequence[Image.Image], cell: int) -> list[Patch]:
    """Patches that fill the cell's width when every pixel is seen at least twice as large."""
    shorter = max(1, min(images[0].size) // _LARGEST_PART)
    side = min(_space(cell, _AUTOMATIC) // _AUTOMATIC_FACTOR, shorter)
    boxes = busiest_places([np.asarray(image) for image in images], side, _AUTOMATIC)
    width, height = images[0].size
    patches = [
        Patch(_around(left, right, side, width), _around(top, bottom, side, height), side)
        for left, top, right, bottom in boxes
    ]
    return sorted(patches)  # from left to right, as they are marked


def _around(start: int, end: int, side: int, whole: int) -> int:
    """Where a side with the same middle starts, inside the whole."""
    return min(max((start + end - side) // 2, 0), whole - side)


def _boxes(
    patches: Sequence[Patch], paths: Sequence[Path], images: Sequence[Image.Image], number: int
) -> list[Box]:
    first, image = images[0], images[number]
    for patch in patches:
        if patch.left + patch.side > first.width or patch.top + patch.side > first.height:
            raise UsageError(
                f"{paths[0]}: {first.width}x{first.height} does not hold the patch "
                f"{','.join(map(str, patch))}: choose one inside"
            )
    return [same_place(patch, first.size, image.size) for patch in patches]


def _marked(
    image: Image.Image, boxes: Sequence[Box], colour: str, cell: int, size: int
) -> Image.Image:
    whole, line = scaled(image, cell), _line(cell)
    pen = ImageDraw.Draw(whole)
    for number, box in enumerate(boxes, 1):
        left, top, right, bottom = (round(side * cell / image.width) for side in box)
        outer = (left - line, top - line, right + line, bottom + line)
        pen.rectangle(outer, outline=colour, width=line)
        if len(boxes) > 1:
            label = tag(str(number), round(0.7 * size), colour)
            # Above the frame, where it hides nothing that is marked, if there is room.
            above = outer[1] - label.height
            whole.paste(label, (max(outer[0], 0), above if above >= 0 else max(outer[1], 0)))
    return whole


def _enlarged(
    image: Image.Image,
    boxes: Sequence[Box],
    colour: str,
    sides: Sequence[int],
    cell: int,
    size: int,
) -> Image.Image:
    """The patches, `sides` pixels a side each in the figure."""
    shown = []
    for number, (box, side) in enumerate(zip(boxes, sides, strict=True), 1):
        patch = framed(magnified(image.crop(box), side), _line(cell), colour)
        label = tag(str(number), round(0.7 * size), colour)
        shown.append(below([label, patch], _line(cell)) if len(boxes) > 1 else patch)
    return beside(shown, GAP // 2)


def _centred(wholes: Sequence[Image.Image]) -> list[Image.Image]:
    """The images on sheets of one height, so that what is below them is aligned."""
    height = max(whole.height for whole in wholes)
    sheets = []
    for whole in wholes:
        sheet = Image.new("RGB", (whole.width, height), "white")
        sheet.paste(whole, (0, (height - whole.height) // 2))
        sheets.append(sheet)
    return sheets


def _widened(blocks: Sequence[Image.Image], cell: int) -> list[Image.Image]:
    sheets = [Image.new("RGB", (cell, block.height), "white") for block in blocks]
    for sheet, block in zip(sheets, blocks, strict=True):
        sheet.paste(block, (0, 0))
    return sheets


def _notes(images: Sequence[Image.Image], patches: Sequence[Patch], factor: int) -> list[str]:
    sides = dict.fromkeys(f"{patch.side}x{patch.side}" for patch in patches)
    times = "their own size" if factor == 1 else f"enlarged {factor} times"
    notes = [f"Patches of {', '.join(sides)} pixels, {times}."]
    sizes = dict.fromkeys(f"{image.width}x{image.height}" for image in images)
    if len(sizes) > 1:
        notes.append(
            f"Sizes differ ({', '.join(sizes)}): patches show the same part of each image, with "
            "as many pixels as stated in the first."
        )
    return notes


def _factor(patches: Sequence[Patch], cell: int) -> int:
    """The whole number by which all patches are enlarged."""
    space, side = _space(cell, len(patches)), max(patch.side for patch in patches)
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


def complete(rows: Sequence[MatchedRow]) -> list[MatchedRow]:
    """The rows in which every model has an image.

    Raises:
        Diffusion4kError: there is none.
    """
    whole = [row for row in rows if all(row.entries)]
    if not whole:
        raise Diffusion4kError("no prompt for which every folder has an image: nothing to draw")
    return whole
