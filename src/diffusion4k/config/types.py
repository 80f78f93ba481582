"""What values of a configuration can be."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
)
from pydantic_core import PydanticCustomError

from diffusion4k.support.multiples import PATCH, nearest_multiples
from diffusion4k.support.text_files import printable

__all__ = [
    "Address",
    "Beta",
    "Count",
    "FolderName",
    "NonNegative",
    "Number",
    "Output",
    "Pixels",
    "Positive",
    "Probability",
    "Section",
    "Seed",
    "Stages",
    "Text",
    "Typed",
    "matching",
    "named",
    "not_all_zero",
    "square",
]

Numbers = TypeVar("Numbers", bound=Iterable[float])


def _not_bool(value: object) -> object:
    if isinstance(value, bool):
        raise PydanticCustomError("float_type", "Input should be a valid number")
    return value


def _whole_patches(value: int) -> int:
    if value % PATCH:
        raise PydanticCustomError(
            "size",
            "Input should be a multiple of {multiple} (nearest: {nearest})",
            {"multiple": PATCH, "nearest": nearest_multiples(value)},
        )
    return value


def _named_folder(value: object) -> object:
    if value == "" or (
        isinstance(value, str) and Path(value).exists() and not Path(value).is_dir()
    ):
        raise PydanticCustomError("folder", "Input should be the path of a folder")
    return value


def square(value: object) -> object:
    """A whole number as two: a side as width and height."""
    return (value, value) if isinstance(value, int) else value


def named(key: str, choice: str) -> BeforeValidator:
    """Default the discriminator `key` of a section to `choice`."""
    return BeforeValidator(lambda value: {key: choice} | value if type(value) is dict else value)


def matching(pattern: str, words: str) -> AfterValidator:
    """Validate that a text as a whole matches a pattern, described by `words`."""

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise PydanticCustomError("text", "Input should be {words}", {"words": words})
        return value

    return AfterValidator(check)


def _some_above_zero(value: Numbers) -> Numbers:
    if not any(value):
        raise PydanticCustomError("weights", "found only zeros, allowed at least one above 0")
    return value


not_all_zero = AfterValidator(_some_above_zero)
"""Validator of numbers that are not negative: at least one above 0."""

Number = Annotated[float, BeforeValidator(_not_bool), Field(allow_inf_nan=False)]
Positive = Annotated[Number, Field(gt=0)]
NonNegative = Annotated[Number, Field(ge=0)]
Beta = Annotated[Number, Field(ge=0, lt=1)]
Probability = Annotated[Number, Field(ge=0, le=1)]
Count = Annotated[int, Field(strict=True, ge=1, le=1 << 40)]
Seed = Annotated[int, Field(strict=True, ge=0, lt=2**63)]
Stages = tuple[Count, ...]
Pixels = Annotated[Count, Field(le=1 << 16), AfterValidator(_whole_patches)]
Text = Annotated[str, Field(min_length=1)]
Address = Annotated[str, matching(r"(?s).*://.*", "an address such as `https://example.org/path`")]
Typed = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=8000),
    BeforeValidator(lambda value: printable(value) if isinstance(value, str) else value),
]
"""A text of some sentences that a person types into a page."""
Output = Annotated[Path, BeforeValidator(_named_folder)]
"""A folder to write into: none but one that is named, and no file or device."""
FolderName = Annotated[
    str,
    matching(
        r"[^/\\\x00-\x1f.][^/\\\x00-\x1f]{0,79}",
        "a name for a folder: 1 to 80 characters, no slash, not beginning with a dot",
    ),
]


class Section(BaseModel):
    """A mapping of known keys, which does not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)
