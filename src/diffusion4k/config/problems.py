"""Pydantic's findings about a recipe, in one line: key, value found, value allowed."""

import difflib
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError

__all__ = ["describe_problem", "describe_problems", "known_keys"]


def describe_problems(error: ValidationError, model: type[BaseModel]) -> str:
    """All problems of `error`, each `key: found ..., allowed ...`, joined by semicolons."""
    return "; ".join(describe_problem(problem, model) for problem in error.errors())


def known_keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Dotted names of all fields, those of sections included."""
    for name, field in model.model_fields.items():
        yield prefix + name
        for section in _sections(field.annotation):
            yield from known_keys(section, f"{prefix}{name}.")


def describe_problem(problem: Any, model: type[BaseModel]) -> str:
    """One of an error's `errors()`."""
    location, section = _locate(problem["loc"], model)
    key = ".".join(location)
    kind, context = problem["type"], problem.get("ctx", {})
    if kind == "extra_forbidden":
        parent, _, name = key.rpartition(".")
        siblings = [f"{parent}.{field}" if parent else field for field in section.model_fields]
        namesakes = [known for known in known_keys(model) if known.endswith(f".{name}")]
        close = difflib.get_close_matches(key, siblings, n=1) or namesakes
        if close and key not in known_keys(model):
            return f"{key}: unknown key (did you mean {close[0]}?)"
        return f"{key}: unknown key (allowed: {', '.join(siblings)})"
    if kind == "missing":
        return f"{key}: missing"
    if kind == "union_tag_invalid":
        name = context["discriminator"].strip("'")
        return f"{key}.{name}: found {context['tag']!r}, allowed {context['expected_tags']}"
    if not key:
        return str(problem["msg"])
    found = repr(problem["input"])
    found = found if len(found) <= 60 else found[:57] + "..."
    allowed = str(problem["msg"]).removeprefix("Input should be ")
    if kind == "too_long":
        allowed = f"{context['max_length']} values"
    if kind in ("tuple_type", "list_type"):
        allowed = "a list `[a, b]`"
    if kind.startswith("model_") or kind == "dict_type":
        allowed = "a section `key: value`"
    return f"{key}: found {found}, allowed {allowed}"


def _locate(
    location: tuple[int | str, ...], model: type[BaseModel]
) -> tuple[list[str], type[BaseModel]]:
    """Keys as the file has them, and the section that holds the last one.

    A section that is chosen by its name has that name in pydantic's location: no key of the file.
    """
    keys: list[str] = []
    section, choices = model, [model]
    for part in location:
        chosen = [choice for choice in choices if len(choices) > 1 and part in _tags(choice)]
        if chosen:
            section, choices = chosen[0], chosen
            continue
        section = choices[0] if choices else section
        keys.append(str(part))
        field = section.model_fields.get(str(part))
        choices = _sections(field.annotation) if field else []
    return keys, section


def _sections(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [section for part in get_args(annotation) for section in _sections(part)]


def _tags(section: type[BaseModel]) -> list[Any]:
    return [
        field.default
        for field in section.model_fields.values()
        if get_origin(field.annotation) is Literal and len(get_args(field.annotation)) == 1
    ]
