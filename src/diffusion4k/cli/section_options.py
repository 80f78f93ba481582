"""Options of a command that are the fields of a section of settings.

A parameter of a command that is `Annotated[Section, FromOptions()]` becomes one option for each of
the section's fields, with the field's type and docstring; the command is given the section.

    @with_section_options
    def generate(prompt: str, sampling: Annotated[SamplingOptions, FromOptions("Image")]) -> None:
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import typer
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from diffusion4k.config.problems import list_problems
from diffusion4k.config.types import Section
from diffusion4k.errors import UsageError

__all__ = ["FromOptions", "section_of_options", "with_section_options"]

AnySection = TypeVar("AnySection", bound=Section)
_TYPES = (bool, int, float, str, Path)


@dataclass(frozen=True)
class FromOptions:
    """How the fields of a section become options."""

    panel: str | None = None
    """Heading of the help that they stand under."""
    key: str = ""
    """What the section is called where a value is refused, unless its fields stand alone."""
    panels: Mapping[str, str] = field(default_factory=dict)
    """Another heading for some of the fields."""
    names: Mapping[str, str] = field(default_factory=dict)
    """Options that are not called as their field is."""
    leave_out: tuple[str, ...] = ()
    """Fields without an option."""
    defaults: Section | None = None
    """Values where an option is not given, which the help shows; None: the section's own, of which
    the fields' docstrings tell."""


def with_section_options(command: Callable[..., None]) -> Callable[..., None]:
    """The command, called with an option for each field of its sections."""
    parameters: list[inspect.Parameter] = []
    sections: dict[str, tuple[type[Section], FromOptions]] = {}
    for parameter in inspect.signature(command).parameters.values():
        how = next((m for m in _metadata(parameter.annotation) if type(m) is FromOptions), None)
        if how is None:
            parameters.append(parameter)
            continue
        kind = get_args(parameter.annotation)[0]
        sections[parameter.name] = kind, how
        parameters += [
            _option(name, info, how)
            for name, info in kind.model_fields.items()
            if name not in how.leave_out
        ]

    @functools.wraps(command)
    def called(**values: Any) -> None:
        for name, (kind, how) in sections.items():
            fields = [key for key in kind.model_fields if key not in how.leave_out]
            given = {key: values.pop(key) for key in fields}
            values[name] = section_of_options(kind, how, **given)
        command(**values)

    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {each.name: each.annotation for each in parameters}
    return called


def section_of_options(
    kind: type[AnySection], how: FromOptions | None = None, **options: Any
) -> AnySection:
    """The section of the options that are given; what is None is not.

    Raises:
        UsageError: a value that is not allowed, in one line.
    """
    how = how or FromOptions()
    values = how.defaults.model_dump(exclude_unset=True) if how.defaults else {}
    values |= {name: value for name, value in options.items() if value is not None}
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        problems = list_problems(error, kind, values)
        where = f"{how.key}." if how.key else ""
        raise UsageError("; ".join(where + problem for problem in problems)) from None


def _option(name: str, info: FieldInfo, how: FromOptions) -> inspect.Parameter:
    kind = _plain(info.annotation)
    default = getattr(how.defaults, name) if how.defaults else None
    option = typer.Option(
        how.names.get(name) or f"--{name.replace('_', '-')}",
        help=" ".join((info.description or "").split()),
        rich_help_panel=how.panels.get(name, how.panel),
    )
    annotation = Annotated[kind | None, option]  # type: ignore[valid-type]
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
    )


def _plain(annotation: Any) -> type:
    """The type that the command line reads: of what it does not know, text."""
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, UnionType):
        kinds = [_plain(each) for each in get_args(annotation) if each is not type(None)]
        return kinds[0] if len(kinds) == 1 else str
    if get_origin(annotation) is Literal:
        return str
    return annotation if annotation in _TYPES else str


def _metadata(annotation: Any) -> tuple[Any, ...]:
    return getattr(annotation, "__metadata__", ())
