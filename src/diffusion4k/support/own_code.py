"""Classes and functions of one's own, named `module:name` in a recipe or an option.

To name one is to run its module. So a name is taken from where a person writes it, and nowhere
else: no model folder, checkpoint, cache or results file has anything imported by it.
"""

import hashlib
import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from diffusion4k import errors
from diffusion4k.errors import UsageError

__all__ = ["OWN", "is_own", "load_own", "one_line", "source_hash"]

_PART = r"[A-Za-z_]\w*"
OWN = rf"{_PART}(\.{_PART})*:{_PART}"
"""A pattern of `module:name` and `package.module:name`."""
_DIGITS = 16


def is_own(name: object) -> bool:
    """Whether it is a name `module:name`, be there such a module or not."""
    return isinstance(name, str) and ":" in name


def load_own(name: str, key: str) -> Callable[..., Any]:
    """The class or function; its module lies in the working folder or on PYTHONPATH.

    Args:
        key: of the recipe, or the option, that named it, for the message.

    Raises:
        UsageError: no such module, one that cannot be imported, or nothing of that name in it that
            can be called.
    """
    if not re.fullmatch(OWN, name):
        raise UsageError(f"{key}: found {name}, allowed module:name, as in my_module:MyClass")
    module, _, attribute = name.partition(":")
    try:
        with _working_folder():
            found = getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        where = f": put {module}.py into this folder or on PYTHONPATH"
        missing = error.name == module.split(".", 1)[0]
        raise UsageError(
            f"{key}: {name}: cannot be loaded: {error}{where if missing else ''}"
        ) from None
    except Exception as error:  # a module may do anything
        raise UsageError(f"{key}: {name}: cannot be loaded: {one_line(error)}") from None
    if not callable(found):
        raise UsageError(
            f"{key}: {name}: found {type(found).__name__}, allowed a class or function"
        )
    return found


def source_hash(found: object) -> str:
    """Hash of the file that a class, a function or an object's class stands in; empty if none."""
    if not (inspect.isclass(found) or inspect.isroutine(found)):
        found = type(found)
    try:
        path = inspect.getsourcefile(found)
    except TypeError:
        path = None
    if path is None or not Path(path).is_file():
        return ""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:_DIGITS]


def one_line(error: Exception) -> str:
    """Kind and text of an error of somebody's code."""
    return f"{type(error).__name__}: {errors.one_line(error)}"


@contextmanager
def _working_folder() -> Iterator[None]:
    """Modules are found in it for as long, and after all others: none is taken for a library."""
    folder = str(Path.cwd())
    if folder in sys.path:
        yield
        return
    sys.path.append(folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
