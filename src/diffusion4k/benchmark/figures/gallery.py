"""Images with their prompts below, in columns (the supplement's Fig. 10)."""

from collections.abc import Sequence

from PIL import Image

from diffusion4k.benchmark.figures.canvas import (
    GAP,
    below,
    beside,
    framed,
    scaled,
    text_block,
    text_size,
)
from diffusion4k.data.images import open_rgb
from diffusion4k.imagesets.models import ImageSetEntry

__all__ = ["draw_gallery"]


def draw_gallery(
    entries: Sequence[ImageSetEntry],
    *,
    columns: int = 3,
    width: int = 2400,
    notes: Sequence[str] = (),
) -> Image.Image:
    """The figure, `width` pixels wide; under each image its prompt, or else its file name.

    Args:
        notes: one for each image, below its prompt.

    Raises:
        Diffusion4kError: an image that cannot be read.
    """
    columns = min(columns, len(entries))
    cell = (width - 2 * GAP - GAP * (columns - 1)) // columns
    size = text_size(width)
    blocks = []
    for number, entry in enumerate(entries):
        parts = [
            scaled(open_rgb(entry.path), cell),
            text_block(entry.prompt or entry.name, cell, size),
        ]
        if notes:
            parts.append(text_block(notes[number], cell, size, "#0b6e4f"))
        blocks.append(below(parts, GAP // 2))
    lines: list[list[Image.Image]] = [[] for _ in range(columns)]
    # Images of other shapes leave no holes: the tallest first, each where there is most room.
    for block in sorted(blocks, key=lambda block: -block.height):
        min(lines, key=lambda line: sum(b.height + GAP for b in line)).append(block)
    return framed(beside([below(line) for line in lines]), GAP)
