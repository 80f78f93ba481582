"""What values of a configuration can be."""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

__all__ = [
    "Address",
    "Beta",
    "Count",
    "FolderName",
    "NonNegative",
    "Number",
    "Pixels",
    "Positive",
    "Probability",
    "Section",
    "Seed",
    "Stages",
    "Text",
    "matching",
    "named",
    "square",
]

MULTIPLE = 32  # pixels: F=16 latents in patches of 2


def _not_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise PydanticCustomError("float_type", "Input should be a valid number")
    return value


def _whole_patches(value: int) -> int:
    if value % MULTIPLE:
        below = max(value // MULTIPLE * MULTIPLE, MULTIPLE)
        above = (value // MULTIPLE + 1) * MULTIPLE
        raise PydanticCustomError(
            "size",
            "Input should be a multiple of {multiple} (nearest: {nearest})",
            {"multiple": MULTIPLE, "nearest": " or ".join(map(str, sorted({below, above})))},
        )
    return value


def square(value: Any) -> Any:
    """A whole number as two: a side as width and height."""
    return (value, value) if isinstance(value, int) else value


def named(key: str, choice: str) -> BeforeValidator:
    """Of a section that is chosen by `key`, which may be left out: then it is `choice`."""
    return BeforeValidator(lambda value: {key: choice} | value if type(value) is dict else value)


def matching(pattern: str, words: str) -> AfterValidator:
    """Of a text that as a whole matches a pattern, as `words` say."""

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise PydanticCustomError("text", "Input should be {words}", {"words": words})
        return value

    return AfterValidator(check)


Number = Annotated[float, BeforeValidator(_not_bool), Field(allow_inf_nan=False)]
Positive = Annotated[Number, Field(gt=0)]
NonNegative = Annotated[Number, Field(ge=0)]
Beta = Annotated[Number, Field(ge=0, lt=1)]
Probability = Annotated[Number, Field(ge=0, le=1)]
Count = Annotated[int, Field(strict=True, ge=1)]
Seed = Annotated[int, Field(strict=True, ge=0, lt=2**63)]
Stages = tuple[Count, ...]
Pixels = Annotated[Count, AfterValidator(_whole_patches)]
Text = Annotated[str, Field(min_length=1)]
Address = Annotated[str, matching(r"(?s).*://.*", "an address such as `https://example.org/path`")]
FolderName = Annotated[
    str,
    matching(
        r"[^/\\\x00-\x1f.][^/\\\x00-\x1f]{0,79}",
        "a name for a folder: 1 to 80 characters, no slash, no dot in front",
    ),
]


class Section(BaseModel):
    """A mapping of known keys, which does not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)
