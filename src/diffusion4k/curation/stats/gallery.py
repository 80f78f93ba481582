"""Samples of the dataset with their captions beneath (supplement, Fig. 15)."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from diffusion4k.data.folder import Photo
from diffusion4k.data.images import open_rgb
from diffusion4k.data.problems import Problem
from diffusion4k.errors import Diffusion4kError
from diffusion4k.support.data_uri import jpeg_uri
from diffusion4k.support.figures import new_figure, wrapped, write_figure

__all__ = ["Sample", "choose", "draw_gallery"]

_THUMBNAIL = 560
_COLUMNS, _COLUMN, _GAP, _EDGE = 3, 3.1, 0.14, 0.1  # inches
_FONT, _LINE = 7.5, 7.5 * 1.32 / 72  # points, and inches a line
_LINES = 12  # of a caption in the figure; the page has all


@dataclass(frozen=True)
class Sample:
    """A picture reduced, with its caption."""

    photo: Photo
    image: Image.Image

    def uri(self) -> str:
        """The reduced picture as a JPEG data URI."""
        return jpeg_uri(self.image, 82)


def choose(
    photos: Sequence[Photo], count: int, seed: int, problems: list[Problem] | None = None
) -> list[Sample]:
    """`count` samples, the same for the same seed; a picture more in the dataset changes one.

    Of a JPEG an eighth of each side may be all that is decoded. A damaged picture is passed over,
    and added to `problems`.
    """

    def place(photo: Photo) -> str:
        return hashlib.sha256(f"{seed} {photo.file_name}".encode()).hexdigest()

    samples: list[Sample] = []
    for photo in sorted(photos, key=place):
        if len(samples) == count:
            break
        try:
            image = open_rgb(photo.path, at_least=_size(photo))
        except (Diffusion4kError, OSError) as error:
            if problems is not None:
                reason = str(error).removeprefix(f"{photo.path}: ")
                problems.append(Problem(str(photo.path), reason))
            continue
        samples.append(Sample(photo, image.resize(_size(photo), Image.Resampling.LANCZOS)))
    return samples


def draw_gallery(samples: Sequence[Sample], folder: Path) -> Path | None:
    """Write `gallery.png` and `gallery.pdf`: columns of pictures with their captions beneath."""
    if not samples:
        return None
    columns: list[list[tuple[Sample, list[str], float]]] = [[] for _ in range(_COLUMNS)]
    heights = [0.0] * _COLUMNS
    for sample in samples:
        lines = wrapped(sample.photo.text, 0.97 * _COLUMN, _FONT)
        lines = [*lines[: _LINES - 1], f"{lines[_LINES - 1]} …"] if lines[_LINES:] else lines
        height = _COLUMN * sample.image.height / sample.image.width
        shortest = heights.index(min(heights))
        columns[shortest].append((sample, lines, heights[shortest]))
        heights[shortest] += height + len(lines) * _LINE + 2 * _GAP
    used = sum(bool(column) for column in columns)
    width = used * _COLUMN + (used - 1) * _GAP + 2 * _EDGE
    total = max(heights) - _GAP + 2 * _EDGE
    with new_figure(width, total) as figure:
        figure.set_layout_engine("none")
        for number, column in enumerate(columns):
            left = (_EDGE + number * (_COLUMN + _GAP)) / width
            for sample, lines, above in column:
                height = _COLUMN * sample.image.height / sample.image.width
                bottom = 1 - (_EDGE + above + height) / total
                axes = figure.add_axes((left, bottom, _COLUMN / width, height / total))
                axes.imshow(np.asarray(sample.image), aspect="auto")
                axes.set_axis_off()
                figure.text(
                    left,
                    bottom - 0.05 / total,
                    "\n".join(lines),
                    fontsize=_FONT,
                    va="top",
                    linespacing=1.25,
                )
        return write_figure(figure, folder, "gallery")


def _size(photo: Photo) -> tuple[int, int]:
    """Width and height of the reduced picture."""
    width = min(_THUMBNAIL, photo.width)
    return width, max(1, round(photo.height * width / photo.width))
