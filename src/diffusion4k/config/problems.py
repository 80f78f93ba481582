"""Pydantic's findings about a recipe, in one line: key, value found, value allowed."""

import difflib
from collections.abc import Iterator
from typing import Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from diffusion4k.support.text_files import shortened

__all__ = ["allowed", "describe_problems", "known_keys", "list_problems"]

_SHOULD = "Input should be "
_ALLOWED = {
    "greater_than": "a number above {gt}",
    "greater_than_equal": "a number of at least {ge}",
    "less_than": "a number below {lt}",
    "less_than_equal": "a number of at most {le}",
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "a whole number"),
    **dict.fromkeys(("float_type", "float_parsing", "finite_number"), "a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "true or false"),
    "string_type": "a text",
    "string_too_short": "a text that is not empty",
    "path_type": "a path",
    **dict.fromkeys(("tuple_type", "list_type"), "a list `[a, b]`"),
    "too_short": "{min_length} or more values",
    "too_long": "{max_length} values",
    **dict.fromkeys(
        ("dict_type", "model_type", "model_attributes_type", "dataclass_type"),
        "a section `key: value`",
    ),
    "union_tag_invalid": "{expected_tags}",
}
"""Pydantic's kinds of problems that it says in other words than ours."""

_ABSENT = object()

_ELSEWHERE = {
    **dict.fromkeys(("lr", "learn_rate"), "learning_rate"),
    **dict.fromkeys(("warmup", "lr_warmup_steps"), "warmup_steps"),
    **dict.fromkeys(("max_train_steps", "max_steps", "num_steps", "iterations"), "steps"),
    **dict.fromkeys(("bs", "train_batch_size"), "batch_size"),
    **dict.fromkeys(("dataset", "train_data_dir", "instance_data_dir"), "data"),
    **dict.fromkeys(("output_dir", "out"), "output"),
    "wd": "weight_decay",
}
"""Names of keys in other programs, and ours."""


def describe_problems(error: ValidationError, model: type[BaseModel], content: object) -> str:
    """All problems with `content`, joined by semicolons."""
    return "; ".join(list_problems(error, model, content))


def list_problems(error: ValidationError, model: type[BaseModel], content: object) -> list[str]:
    """Each `key: found ..., allowed ...`: one for each key, the innermost ones alone."""
    by_key: dict[str, list[ErrorDetails]] = {}
    sections: dict[str, type[BaseModel]] = {}
    for problem in error.errors():
        key, section = _locate(problem, model, content)
        by_key.setdefault(key, []).append(problem)
        sections[key] = section
    return [
        _unknown(key, sections[key], model)
        if problems[0]["type"] == "extra_forbidden"
        else _wrong(key, problems)
        for key, problems in by_key.items()
        if not any(other.startswith(f"{key}.") for other in by_key)
    ]


def known_keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Dotted names of all fields, those of sections included."""
    for name, field in model.model_fields.items():
        yield prefix + name
        for section in _sections(field.annotation):
            yield from known_keys(section, f"{prefix}{name}.")


def _locate(
    problem: ErrorDetails, model: type[BaseModel], content: object
) -> tuple[str, type[BaseModel]]:
    """The key as the file has it, and the section that holds it.

    Pydantic's location also tells which of several types was tried: no key of the file.
    """
    keys: list[str] = []
    section, choices = model, [model]
    for part in problem["loc"]:
        held = _held(content, part)
        if held is not _ABSENT:
            content = held
            section = choices[0] if choices else section
            keys.append(str(part))
            if field := section.model_fields.get(str(part)):
                choices = _sections(field.annotation)
        elif chosen := [choice for choice in choices if part in _tags(choice)]:
            choices = chosen
    if _is_absent(problem):
        keys.append(str(problem["loc"][-1]))
    if problem["type"].startswith("union_tag"):
        keys.append(problem["ctx"]["discriminator"].strip("'"))
    return ".".join(keys), section


def _held(content: object, part: int | str) -> object:
    """What stands in a list or mapping at a number or key; `_ABSENT` if nothing does."""
    if isinstance(content, list | tuple):
        is_there = isinstance(part, int) and part in range(len(content))
        return content[int(part)] if is_there else _ABSENT
    return content.get(part, _ABSENT) if isinstance(content, dict) else _ABSENT


def _is_absent(problem: ErrorDetails) -> bool:
    """Whether it is a key that is missing, not an item of a list."""
    return problem["type"] == "missing" and isinstance(problem["loc"][-1], str)


def _unknown(key: str, section: type[BaseModel], model: type[BaseModel]) -> str:
    parent, _, name = key.rpartition(".")
    siblings = [f"{parent}.{field}" if parent else field for field in section.model_fields]
    ours = _ELSEWHERE.get(name, name)
    namesakes = [known for known in known_keys(model) if f".{known}".endswith(f".{ours}")]
    close = namesakes if name in _ELSEWHERE else []
    close = close or difflib.get_close_matches(key, siblings, n=1) or namesakes
    if close and key not in known_keys(model):
        return f"{key}: unknown key (did you mean {close[0]}?)"
    return f"{key}: unknown key (allowed: {', '.join(siblings)})"


def _wrong(key: str, problems: list[ErrorDetails]) -> str:
    """What one value is refused for: of several types that it may have, by each of them."""
    first = problems[0]
    if _is_absent(first) or first["type"] == "union_tag_not_found":
        return f"{key}: missing"
    if first["type"] == "unexpected_keyword_argument":
        return f"{key}: unknown key"
    # Items of a list that all miss, or are wrong in one way, are one problem: the last tells.
    words = {problem["type"]: allowed(problem) for problem in problems}.values()
    if None in words:  # a rule of our own, stated in a sentence
        message = str(first["msg"])
        return message if message.startswith(key) else f"{key}: {message}"
    found = shortened(first.get("ctx", {}).get("tag", first["input"]))
    return f"{key}: found {found}, allowed {', or '.join(map(str, words))}"


def allowed(problem: ErrorDetails) -> str | None:
    """Words for the values that pydantic would take; None: it is a rule that says more."""
    kind, message = problem["type"], str(problem["msg"])
    if kind == "missing":
        return f"{int(problem['loc'][-1]) + 1} values"
    if kind in _ALLOWED:
        words = _ALLOWED[kind].format(**problem.get("ctx", {}))
        # Of a union whose other half is what one writes oneself: see `part_section`.
        is_open = kind == "union_tag_invalid" and "known" in problem["loc"]
        return f"{words}, or `module:Class` of your own" if is_open else words
    return message.removeprefix(_SHOULD) if message.startswith(_SHOULD) else None


def _sections(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [section for part in get_args(annotation) for section in _sections(part)]


def _tags(section: type[BaseModel]) -> list[object]:
    """Names by which a section can be chosen."""
    return [
        name
        for field in section.model_fields.values()
        if get_origin(field.annotation) is Literal and len(get_args(field.annotation)) == 1
        for name in get_args(field.annotation)
    ]
