"""YAML files that say everything about a run, checked before anything starts.

Unknown keys are refused. `a.b=value` on the command line overrides a key, `value` being YAML, so
that `objective={name: flow-matching}` replaces a whole section.
"""

from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from diffusion4k.config.problems import describe_problems, list_problems
from diffusion4k.errors import UsageError, one_line
from diffusion4k.support.text_files import check_plain, shortened

__all__ = ["read_config", "read_partly", "top_keys"]

_MOST_BYTES = 1 << 20
_MOST_VALUES = 100_000
AnyConfig = TypeVar("AnyConfig", bound=BaseModel)


def read_config(path: str | Path, overrides: list[str] | None, kind: type[AnyConfig]) -> AnyConfig:
    """Read and check a file; `overrides` are strings `key.key=value`.

    Raises:
        UsageError: one line that names every problem found.
    """
    content = _content(Path(path), overrides)
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise UsageError(f"{path}: {describe_problems(error, kind, content)}") from None


def read_partly(
    path: str | Path,
    overrides: list[str] | None,
    kind: type[AnyConfig],
    *,
    instead: Mapping[str, Callable[[object], object]] | None = None,
) -> tuple[AnyConfig | None, list[str], set[str]]:
    """As `read_config`, but problems are returned, with the outermost keys that they concern.

    What is read is then without these keys, so that the rest can be checked; None if there is
    none without them. In place of a key that must be there stands what `instead` makes of the value
    found (None if there is none).

    Raises:
        UsageError: the file cannot be read, or is no YAML mapping.
    """
    content = _content(Path(path), overrides)
    try:
        return kind.model_validate(content), [], set()
    except ValidationError as error:
        problems = list_problems(error, kind, content)
        keys = {str(key) for wrong in error.errors() for key in wrong["loc"][:1]}
    for key in keys:
        found = content.pop(key, None)
        if instead and key in instead:
            content[key] = instead[key](found)
    try:
        return kind.model_validate(content), problems, keys
    except ValidationError:
        return None, problems, keys


def top_keys(path: Path) -> set[str]:
    """The outermost keys of a file. Raises as `read_partly` does."""
    return set(_content(path, None))


def _content(path: Path, overrides: list[str] | None) -> dict[str, object]:
    check_plain(path)
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES + 1)
        content = _parse(text.decode("utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise UsageError(f"{path}: cannot be read: {reason}") from None
    if len(text) > _MOST_BYTES:
        raise UsageError(f"{path}: more than {_MOST_BYTES} bytes: a recipe is not data")
    if content is None:
        raise UsageError(f"{path}: is empty, allowed a mapping `key: value`")
    if not isinstance(content, dict):
        raise UsageError(f"{path}: found {type(content).__name__}, allowed a mapping `key: value`")
    for override in overrides or []:
        _apply(content, override)
    return content


def _parse(text: str, origin: str) -> object:
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if _written_out(node, {}) > _MOST_VALUES:
            raise yaml.YAMLError(f"its aliases stand for more than {_MOST_VALUES} values")
        content = None if node is None else loader.construct_document(node)
        _check_texts(content)
        return content
    except RecursionError:
        reason = "nested too deep"
    # A value with a tag, and a date or number that is none, end in whatever Python says of it.
    except (yaml.YAMLError, ArithmeticError, AttributeError, LookupError, TypeError) as error:
        reason = str(error) or type(error).__name__
    except ValueError as error:
        reason = f"{error} (put a text that looks like a date or number in quotation marks)"
    raise UsageError(f"{origin}: not valid YAML: {one_line(reason, 300)}")


def _written_out(node: yaml.Node | None, known: dict[int, int]) -> int:
    """How many values there are with each alias replaced by what it stands for."""
    if not isinstance(node, yaml.CollectionNode):
        return 1
    if id(node) not in known:
        known[id(node)] = _MOST_VALUES + 1  # what holds itself has no end
        children = [part for entry in node.value for part in _parts(entry)]
        known[id(node)] = 1 + sum(_written_out(child, known) for child in children)
    return known[id(node)]


def _parts(entry: yaml.Node | tuple[yaml.Node, yaml.Node]) -> tuple[yaml.Node, ...]:
    return entry if isinstance(entry, tuple) else (entry,)


def _check_texts(value: object) -> None:
    if isinstance(value, str) and any(c == "\0" or "\ud800" <= c <= "\udfff" for c in value):
        raise yaml.YAMLError(f"{shortened(value)} holds a character that is not text")
    if isinstance(value, Mapping):
        value = [*value, *value.values()]
    if isinstance(value, (list, tuple, set)):
        for each in value:
            _check_texts(each)


def _apply(content: dict[str, object], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise UsageError(
            f"override {shortened(override)}: allowed key=value, for example steps=100"
        )
    *sections, name = key.split(".")
    for section in sections:
        inner = content.get(section)
        if inner is None:
            inner = content[section] = {}
        if not isinstance(inner, dict):
            raise UsageError(f"override {shortened(override)}: {section} is not a section")
        content = inner
    content[name] = _parse(value, f"override {shortened(override)}")


class _Loader(yaml.SafeLoader):
    """Refuses a key given twice, which YAML would silently let win."""

    def construct_mapping(
        self, node: yaml.MappingNode, deep: bool = False
    ) -> dict[Hashable, object]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(
                    None, None, "a list or mapping cannot be a key", key.start_mark
                )
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key.value!r} is given twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)
