"""Parts that a recipe names: frozen dataclasses, whose fields are the keys of their section.

The annotation of a field says its range once, in the types of `config.types`. `Part` holds a part
to it however it is made, and `config.part_section` makes the section of a recipe from it.
"""

import inspect
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal, get_args, get_origin, get_type_hints

__all__ = ["REQUIRED", "OrWord", "Part", "Unnamed", "annotations_of", "check_range", "known_parts"]

REQUIRED = {"required": True}
"""Metadata of a field that a recipe has to give, though it has a default in Python."""

_BOUNDS = ("gt", "ge", "lt", "le")


@dataclass(frozen=True)
class Unnamed:
    """Beside the type of a field: the `name` of a section that gives none (else the default's)."""

    name: str


@dataclass(frozen=True)
class OrWord:
    """Beside the type of a field: a word that a recipe may have in its place."""

    word: str


class Part:
    """Base of the dataclasses that a recipe can name.

    Attributes:
        name: what it is called in a recipe, if there are several in its place.
        key: under which a recipe has this name.
    """

    name: ClassVar[str]
    key: ClassVar[str] = "name"

    def __post_init__(self) -> None:
        """Hold every field to its range.

        Raises:
            ValueError: names the field, what is allowed and what was found.
        """
        for key, annotation in annotations_of(type(self)).items():
            check_range(key, getattr(self, key), annotation)


def known_parts(role: type) -> list[type[Part]]:
    """The parts of this package that `role` is a base of, in the order of their names."""
    found = {part for part in _below(role) if part.__module__.startswith("diffusion4k.")}
    return sorted(found, key=lambda part: vars(part).get("name", ""))


def annotations_of(part: type) -> dict[str, object]:
    """The annotation of each field that is an argument, by its name."""
    hints = get_type_hints(part, include_extras=True)
    return {field.name: hints[field.name] for field in fields(part) if field.init}


def check_range(name: str, value: Any, annotation: object) -> None:
    """Refuse a value out of the range that an annotation of a number or of words gives.

    Other annotations, as those of tuples and parts, are not looked into.

    Raises:
        ValueError: names what is allowed and what was found.
    """
    if get_origin(annotation) is Literal:
        if value not in get_args(annotation):
            words = " or ".join(map(str, get_args(annotation)))
            raise ValueError(f"{name} must be {words}, got {value!r}")
        return
    kind, *metadata = get_args(annotation) or (annotation,)
    if kind not in (float, int) or not hasattr(annotation, "__metadata__"):
        return
    bounds = dict(_bounds(metadata))
    inside = (
        bounds.get("gt", -math.inf) < value < bounds.get("lt", math.inf)
        and bounds.get("ge", value) <= value <= bounds.get("le", value)
        and math.isfinite(value)
    )
    if not inside:
        raise ValueError(f"{name} must {_wording(bounds)}, got {value}")


def _bounds(metadata: Sequence[object]) -> Iterator[tuple[str, float]]:
    """Bounds of `annotated_types`, also those within a `Field`; the last of one kind counts."""
    for each in metadata:
        yield from _bounds(getattr(each, "metadata", ()))
        for kind in _BOUNDS:
            if (limit := getattr(each, kind, None)) is not None:
                yield kind, limit


def _wording(bounds: dict[str, float]) -> str:
    if bounds.keys() >= {"ge", "le"}:
        return f"lie in [{bounds['ge']:.4g}, {bounds['le']:.4g}]"
    if bounds == {"gt": 0}:
        return "be positive and finite"
    return "be finite and not negative" if bounds == {"ge": 0} else "be finite"


def _below(role: type) -> Iterator[type[Part]]:
    kinds: list[type] = role.__subclasses__()
    for kind in kinds:
        is_base = inspect.isabstract(kind) or kind.__name__.startswith("_")
        if issubclass(kind, Part) and not is_base:
            yield kind
        yield from _below(kind)
