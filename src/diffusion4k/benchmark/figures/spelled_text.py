"""Images whose prompts ask for text in quotation marks, and how well it can be read (Fig. 12).

What an OCR engine reads is compared with the quoted text, both in lower case with single blanks:

    accuracy = max(0, 1 - edits / length)

where edits is the Levenshtein distance, counted in characters or in words, as in character and word
error rates.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, TypeAlias

import numpy as np
from PIL import Image

from diffusion4k.benchmark.figures.gallery import draw_gallery
from diffusion4k.data.images import open_rgb
from diffusion4k.errors import Diffusion4kError
from diffusion4k.imagesets.models import ImageSetEntry

__all__ = [
    "Reader",
    "Reading",
    "accuracy",
    "draw_spelled_text",
    "find_reader",
    "quoted",
    "read_entries",
    "with_text",
]

Reader: TypeAlias = Callable[[Image.Image], str]
"""Image -> the text in it."""

_QUOTED = re.compile(r'"([^"]+)"|“([^”]+)”|‘([^’]+)’|«([^»]+)»|(?<!\w)\'([^\']+)\'(?!\w)')
_LONGEST = 2000  # pixels; engines were trained on letters of some tens of pixels


@dataclass(frozen=True)
class Reading:
    """What was wanted, what was read, and how near it is."""

    wanted: str
    read: str
    characters: float
    words: float

    def __str__(self) -> str:
        return (
            f"read: {self.read or '-'} (characters {self.characters:.0%}, words {self.words:.0%})"
        )


def quoted(prompt: str) -> str:
    """All that stands in quotation marks, joined by blanks; empty if nothing does."""
    found = ("".join(groups) for groups in _QUOTED.findall(prompt))
    return " ".join(" ".join(found).split())


def with_text(entries: Sequence[ImageSetEntry]) -> list[ImageSetEntry]:
    """The images whose prompts quote some text.

    Raises:
        Diffusion4kError: there is none.
    """
    found = [entry for entry in entries if quoted(entry.prompt)]
    if not found:
        raise Diffusion4kError(
            f"{entries[0].path.parent}: no prompt asks for text in quotation marks, such as "
            'a shop sign that says "open"'
        )
    return found


def accuracy(wanted: str, read: str) -> tuple[float, float]:
    """Accuracy of characters and of words, 0 to 1."""
    wanted, read = (" ".join(text.casefold().split()) for text in (wanted, read))
    pairs: list[tuple[Sequence[str], Sequence[str]]] = [
        (wanted, read),
        (wanted.split(), read.split()),
    ]
    characters, words = (max(0.0, 1 - _edits(w, r) / len(w)) for w, r in pairs)
    return characters, words


def read_entries(entries: Sequence[ImageSetEntry], reader: Reader) -> list[Reading]:
    """Every image read and compared with the quoted text of its prompt."""
    readings = []
    for entry in entries:
        image = open_rgb(entry.path)
        image.thumbnail((_LONGEST, _LONGEST), Image.Resampling.LANCZOS)
        wanted, read = quoted(entry.prompt), " ".join(reader(image).split())
        readings.append(Reading(wanted, read, *accuracy(wanted, read)))
    return readings


def draw_spelled_text(
    entries: Sequence[ImageSetEntry],
    readings: Sequence[Reading] = (),
    *,
    columns: int = 3,
    width: int = 2400,
) -> Image.Image:
    """The figure: a gallery, with what was read below each prompt."""
    return draw_gallery(entries, columns=columns, width=width, notes=[str(r) for r in readings])


def find_reader() -> Reader | str:
    """Tesseract or else EasyOCR, whichever is installed with its models; or why there is none."""
    return _tesseract() or _easyocr() or (
        "no OCR engine is installed, so the texts are not scored: install tesseract and "
        "`pip install pytesseract`"
    )  # fmt: skip


def _tesseract() -> Reader | None:
    try:
        pytesseract: Any = import_module("pytesseract")
        pytesseract.get_tesseract_version()
    except (ImportError, OSError, SystemExit):
        return None  # The package without the program is of no use.
    return pytesseract.image_to_string


def _easyocr() -> Reader | None:
    try:
        easyocr: Any = import_module("easyocr")
        engine = easyocr.Reader(["en"], gpu=False, download_enabled=False, verbose=False)
    except (ImportError, OSError):
        return None  # EasyOCR says a missing model by FileNotFoundError.
    return lambda image: " ".join(engine.readtext(np.asarray(image), detail=0))


def _edits(one: Sequence[str], other: Sequence[str]) -> int:
    """Levenshtein distance, row by row."""
    row = list(range(len(other) + 1))
    for i, left in enumerate(one, 1):
        above, row[0] = row[0], i
        for j, right in enumerate(other, 1):
            above, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, above + (left != right))
    return row[-1]
