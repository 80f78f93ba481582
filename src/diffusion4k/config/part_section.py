"""Sections of a recipe that follow from the parts they stand for (see `config.part`).

A section has the part's name and its fields, with their types and defaults. Where a part may stand,
a class or function of one's own may too: `name: module:Class`, again with its arguments.
"""

import inspect
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields
from functools import cache, partial
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin

from pydantic import ConfigDict, Discriminator, Tag, create_model
from pydantic import Field as SectionField

from diffusion4k.config.part import OrWord, Part, Unnamed, annotations_of, known_parts
from diffusion4k.config.types import Section, matching, named
from diffusion4k.errors import UsageError
from diffusion4k.support.own_code import OWN, is_own, load_own, one_line

__all__ = ["PartSection", "choice", "section_of"]


class PartSection(Section):
    """A section that stands for a part, `part`; its keys are the part's arguments."""

    part: ClassVar[type[Part]]

    @property
    def label(self) -> str:
        """The name in the recipe."""
        return str(self.part.name)

    def build(self, key: str, **instead: object) -> Any:
        """The part itself, and before it those that it is made of.

        Args:
            key: of the recipe, for messages about code of one's own.
            instead: arguments in place of those of the section.

        Raises:
            ValueError: a value that the part refuses.
            UsageError: code of one's own that is not there, or does not take the arguments.
        """
        arguments = {name: _built(getattr(self, name), key) for name in annotations_of(self.part)}
        return self.part(**arguments | instead)

    def own_codes(self) -> Iterator[str]:
        """`module:name` of everything of one's own in the section."""
        for _, value in self:
            if isinstance(value, PartSection):
                yield from value.own_codes()


class OwnSection(PartSection):
    """A class or function of one's own, named by the first key; all others are its arguments."""

    model_config = ConfigDict(extra="allow", frozen=True)

    @property
    def label(self) -> str:
        """`module:name` of the class or function."""
        return str(getattr(self, next(iter(type(self).model_fields))))

    def build(self, key: str, **instead: object) -> Any:
        """What the class makes of the arguments, or the function with them filled in.

        Raises:
            UsageError: there is no such thing, or it does not take the arguments.
        """
        code, arguments = self.label, dict(self.model_extra or {})
        found = load_own(code, key)
        if not inspect.isclass(found):
            return partial(found, **arguments) if arguments else found
        try:
            return found(**arguments)
        except Exception as error:  # somebody's code may raise anything
            raise UsageError(f"{key}: {code}: refuses {arguments}: {one_line(error)}") from None

    def own_codes(self) -> Iterator[str]:
        """Its own name alone."""
        yield self.label


_sections: dict[type, type[PartSection]] = {}


def section_of(part: type[Part]) -> type[PartSection]:
    """The section that stands for a part, a frozen dataclass."""
    if part not in _sections:
        types = annotations_of(part)
        named_by: dict[str, Any] = {}
        if hasattr(part, "name"):
            named_by[part.key] = (Literal[part.name], part.name)
        keys = {
            field.name: (_type_of(types[field.name], _default_of(field)), _default_of(field))
            for field in fields(part)  # type: ignore[arg-type]
            if field.name in types
        }
        _sections[part] = create_model(
            f"{part.__name__}Section",
            __base__=PartSection,
            __doc__=inspect.getdoc(part),
            __module__=__name__,
            **named_by | keys,
        )
        _sections[part].part = part
    return _sections[part]


def choice(role: type, *, unnamed: str, optional: bool = False) -> object:
    """The type of a section that may stand for every part of a role, or for one's own.

    Args:
        role: base class of the parts.
        unnamed: the name of a section that gives none.
        optional: there may be none.
    """
    parts = known_parts(role)
    key, sections = parts[0].key, [section_of(part) for part in parts]
    known: Any = sections[0]
    if len(sections) > 1:
        known = Annotated[Union[tuple(sections)], SectionField(discriminator=key)]  # noqa: UP007

    def kind(value: object) -> str:
        name = value.get(key) if isinstance(value, dict) else getattr(value, key, None)
        return "own" if is_own(name) else "known"

    if optional:
        known = known | None
    own = Annotated[_own_section(key), Tag("own")]  # type: ignore[valid-type]
    either = Annotated[known, Tag("known")] | own
    return Annotated[either, Discriminator(kind), named(key, unnamed)]


@cache
def _own_section(key: str) -> type[PartSection]:
    name = Annotated[str, matching(OWN, "`module:Class` of your own")]
    keys: dict[str, Any] = {key: (name, ...)}
    return create_model(f"Own_{key}", __base__=OwnSection, __module__=__name__, **keys)


def _type_of(annotation: Any, default: Any) -> object:
    """The type in a section of what a part has under this annotation."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if isinstance(annotation, type) and known_parts(annotation):
        return choice(annotation, unnamed=default.name)
    if isinstance(annotation, type) and issubclass(annotation, Part):
        return section_of(annotation)
    if origin is tuple and inner[-1] is ...:
        return tuple[_type_of(inner[0], None), ...]  # type: ignore[misc]
    for each in getattr(annotation, "__metadata__", ()):
        if isinstance(each, Unnamed):
            role, *rest = get_args(inner[0]) or inner
            return choice(role, unnamed=each.name, optional=rest[:1] == [type(None)])
        if isinstance(each, OrWord):
            return annotation | Literal[each.word]
    return annotation


def _default_of(field: "Field[object]") -> object:
    """The default of the section's key for a field of a part; `...` if it must be given."""
    default = field.default if field.default_factory is MISSING else field.default_factory()
    if default is MISSING or field.metadata.get("required"):
        return ...
    if not isinstance(default, Part):
        return default
    kind = type(default)
    return section_of(kind)(**{key: getattr(default, key) for key in annotations_of(kind)})


def _built(value: object, key: str) -> object:
    if isinstance(value, PartSection):
        return value.build(key)
    return tuple(_built(each, key) for each in value) if isinstance(value, tuple) else value
