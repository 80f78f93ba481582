"""The numbers below each image: from results files, or else what the tiles' maker measured.

A results file is JSON with an object `images`, at the top or under `evaluated` (as `diffusion4k
evaluate --out` writes it), that gives each file name its numbers:

    {"evaluated": {"images": {"lake.jpg": {"glcm_score": 0.71, ...}, ...}}}

or the benchmark's `images.csv`, of which the lines of the model's name are taken.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from diffusion4k.compare.pyramid import About
from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.imagesets.models import ImageSetEntry, Model
from diffusion4k.metrics.registry import known_columns
from diffusion4k.support.text_files import json_of, read_table

__all__ = ["Heading", "Numbers", "headings", "numbers_of", "read_results"]

Numbers: TypeAlias = dict[str, float]
"""Values by the name of the measure."""

# What the page says anyway, or what no one compares.
_LEFT_OUT = ("width", "height", "jpeg_bytes", "raw_bytes", "seed")


@dataclass(frozen=True)
class Heading:
    """How the page names a number and how many digits it shows."""

    name: str
    text: str
    digits: int


def headings(found: Sequence[Numbers]) -> list[Heading]:
    """One for each measure that any image has, in the order they are met."""
    names = dict.fromkeys(name for numbers in found for name in numbers)
    known = {c.name: Heading(c.name, c.heading, c.digits) for c in known_columns()}
    return [known.get(name) or Heading(name, name.replace("_", " "), 3) for name in names]


def numbers_of(entry: ImageSetEntry, about: About, results: dict[str, Numbers] | None) -> Numbers:
    """Numbers from the results of the entry's model if given; none for an image they leave out."""
    if results is not None:
        return results.get(entry.file_name) or results.get(entry.path.name) or {}
    own = {"glcm_score": about.glcm_score, "compression_ratio": about.compression_ratio}
    return {name: value for name, value in own.items() if value is not None}


def read_results(
    arguments: Sequence[str], models: Sequence[Model]
) -> dict[str, dict[str, Numbers]]:
    """Model name -> file name -> numbers, from `NAME=FILE` each.

    Raises:
        UsageError: no such model, or no such file.
        Diffusion4kError: a file that is no results file.
    """
    found: dict[str, dict[str, Numbers]] = {}
    for argument in arguments:
        name, _, file = argument.partition("=")
        if name not in [model.name for model in models]:
            known = ", ".join(model.name for model in models)
            raise UsageError(f"--results {argument}: give NAME=FILE, where NAME is one of {known}")
        path = Path(file)
        if not path.is_file():
            raise UsageError(f"--results {argument}: no such file: {path}")
        found[name] = _lines(path, name) if path.suffix.lower() == ".csv" else _images(path)
    return found


def _lines(path: Path, name: str) -> dict[str, Numbers]:
    """The lines of one model in the benchmark's table of images."""
    lines = [line for line in read_table(path).records() if line.get("row")]
    if not lines or not {"row", "image"} <= lines[0].keys():
        raise Diffusion4kError(
            f"{path}: has no lines with the columns row and image: give the images.csv that "
            "`diffusion4k benchmark` wrote"
        )
    rows = list(dict.fromkeys(line["row"] for line in lines))
    if name not in rows:
        raise Diffusion4kError(
            f"{path}: has no row {name!r}: name the model as one of {', '.join(rows)}"
        )
    return {
        Path(line["image"]).name: _numbers({k: _value(v) for k, v in line.items() if v})
        for line in lines
        if line["row"] == name
    }


def _value(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _images(path: Path) -> dict[str, Numbers]:
    try:
        content: object = json_of(path.read_bytes())
    except ValueError as error:
        raise Diffusion4kError(f"{path}: not valid JSON ({error}): give a results file") from None
    if isinstance(content, dict):
        content = content.get("evaluated", content)
    images = content.get("images") if isinstance(content, dict) else None
    if not isinstance(images, dict) or not all(isinstance(row, dict) for row in images.values()):
        raise Diffusion4kError(
            f'{path}: holds no object "images" that gives each file its numbers: give what '
            "`diffusion4k evaluate --out` wrote"
        )
    return {file: _numbers(row) for file, row in images.items()}


def _numbers(row: dict[str, object]) -> Numbers:
    return {
        name: float(value)
        for name, value in row.items()
        if name not in _LEFT_OUT
        and isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
    }
