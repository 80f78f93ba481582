"""What all figures are made of: blocks of pixels and text, laid beside and below each other."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from diffusion4k.errors import UsageError
from diffusion4k.support.figures import write_plot
from diffusion4k.support.files import atomic_path

__all__ = [
    "GAP",
    "INK",
    "SOFT",
    "below",
    "beside",
    "check_output",
    "fitting_size",
    "framed",
    "magnified",
    "save_figure",
    "scaled",
    "tag",
    "text_block",
    "text_size",
]

GAP = 16
"""Pixels between blocks."""
INK, SOFT = "#16191d", "#5d6b7a"

_SUFFIXES = (".png", ".jpg", ".jpeg", ".pdf")
_LIGHT = 400  # of three times 255
_LARGEST = 20_000  # pixels a side


def check_output(path: Path, width: int) -> None:
    """Refuse a file that cannot be written, before anything is drawn.

    Raises:
        UsageError: another suffix than PNG, JPEG or PDF, or a width out of range.
    """
    if path.suffix.lower() not in _SUFFIXES:
        raise UsageError(f"--out {path}: end it in one of {', '.join(_SUFFIXES)}")
    if path.is_dir():
        raise UsageError(f"--out {path}: is a folder; name a file in it")
    if not 300 <= width <= _LARGEST:
        raise UsageError(f"--width {width}: allowed are 300 to {_LARGEST} pixels")


def save_figure(figure: Image.Image, path: Path) -> None:
    """Write the figure by the suffix of `path`: PNG, JPEG of quality 95, or PDF of its pixels.

    The same figure gives the same bytes.
    """
    if path.suffix.lower() == ".pdf":
        _save_pdf(figure, path)
        return
    with atomic_path(path) as temporary:
        if path.suffix.lower() == ".png":
            figure.save(temporary, compress_level=6)
        else:
            figure.save(temporary, quality=95, subsampling=0)


def _save_pdf(figure: Image.Image, path: Path) -> None:
    # Pillow would compress the pixels as a JPEG; matplotlib keeps them.
    from matplotlib.figure import Figure

    dots = 200
    page = Figure(figsize=(figure.width / dots, figure.height / dots), dpi=dots)
    page.figimage(np.asarray(figure))
    write_plot(page, path, {"CreationDate": None}, dpi=dots)


def text_size(width: int) -> int:
    """Pixels of ordinary text in a figure of that width."""
    return max(13, round(width / 85))


def fitting_size(texts: Sequence[str], width: int, size: int) -> int:
    """Font size, at most `size`, at which no word of the texts is wider than `width` pixels."""
    widest = max(
        (_font(size).getlength(word) for text in texts for word in text.split()), default=0
    )
    return size if widest <= width else max(1, int(size * width / widest))


def text_block(text: str, width: int, size: int, colour: str = INK) -> Image.Image:
    """The text in lines of at most `width` pixels."""
    font = _font(size)
    lines = _lines(text, width, font)
    height = round(1.35 * size)
    block = Image.new("RGB", (width, height * len(lines)), "white")
    pen = ImageDraw.Draw(block)
    for number, line in enumerate(lines):
        pen.text((0, number * height), line, colour, font)
    return block


def beside(blocks: Sequence[Image.Image], gap: int = GAP) -> Image.Image:
    """Blocks from left to right, their upper edges in line."""
    size = sum(b.width for b in blocks) + gap * (len(blocks) - 1), max(b.height for b in blocks)
    whole, left = Image.new("RGB", size, "white"), 0
    for block in blocks:
        whole.paste(block, (left, 0))
        left += block.width + gap
    return whole


def below(blocks: Sequence[Image.Image], gap: int = GAP) -> Image.Image:
    """Blocks from top to bottom, their left edges in line."""
    size = max(b.width for b in blocks), sum(b.height for b in blocks) + gap * (len(blocks) - 1)
    whole, top = Image.new("RGB", size, "white"), 0
    for block in blocks:
        whole.paste(block, (0, top))
        top += block.height + gap
    return whole


def framed(block: Image.Image, thickness: int, colour: str = "white") -> Image.Image:
    """The block with an edge around it."""
    edge = 2 * thickness
    whole = Image.new("RGB", (block.width + edge, block.height + edge), colour)
    whole.paste(block, (thickness, thickness))
    return whole


def scaled(image: Image.Image, width: int) -> Image.Image:
    """The whole image, `width` pixels wide."""
    height = max(1, round(image.height * width / image.width))
    return image.resize((width, height), Image.Resampling.LANCZOS)


def magnified(image: Image.Image, side: int) -> Image.Image:
    """A square of pixels, `side` pixels a side: each a square itself, where that is a multiple."""
    return image.resize((side, side), Image.Resampling.NEAREST)


def tag(text: str, size: int, colour: str) -> Image.Image:
    """A short text on a ground of that colour."""
    font = _font(size)
    width, height = round(font.getlength(text) + 0.7 * size), round(1.35 * size)
    block = Image.new("RGB", (width, height), colour)
    ink = "white" if sum(block.getpixel((0, 0))) < _LIGHT else INK  # type: ignore[arg-type]
    ImageDraw.Draw(block).text((width / 2, height / 2), text, ink, font, anchor="mm")
    return block


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    # matplotlib's own copy of DejaVu Sans: the same on every machine, and of most alphabets.
    import matplotlib

    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)


def _lines(text: str, width: int, font: ImageFont.FreeTypeFont) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".lstrip()
        if font.getlength(longer) <= width:
            lines[-1] = longer
            continue
        if lines[-1]:
            lines.append("")
        for letter in word:
            if lines[-1] and font.getlength(lines[-1] + letter) > width:
                lines.append("")
            lines[-1] += letter
    return lines
