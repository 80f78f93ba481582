"""What a text encoder does not see of a prompt, said once and in words of our own.

The stock pipelines warn at each encoding, once for every encoder: a benchmark of one prompt by two
models in stages would say so a dozen times.
"""

import logging
import re
import sys

__all__ = ["say_truncation_once"]

_WARNING = re.compile(
    r"The following part of your input was truncated because "
    r"(?P<why>.*?)(?: up to| is set to) +(?P<tokens>\d+) tokens: (?P<rest>.*)",
    re.DOTALL,
)
_SHOWN = 80


class _Once(logging.Filter):
    """Lets through all but these warnings, of which it prints one line for each new text."""

    def __init__(self) -> None:
        super().__init__()
        self._said: set[tuple[str, str]] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """See `logging.Filter.filter`."""
        found = _WARNING.match(record.getMessage())
        if not found:
            return True
        rest = " ".join(found["rest"].strip("[]'\" ").split())
        reader = "CLIP" if "CLIP" in found["why"] else "the text encoder"
        if (reader, rest) not in self._said:
            self._said.add((reader, rest))
            shown = rest if len(rest) <= _SHOWN else f"{rest[:_SHOWN]}..."
            print(
                f"{reader} reads {found['tokens']} tokens of a prompt, and not its end: {shown}",
                file=sys.stderr,
                flush=True,
            )
        return False


_ONCE = _Once()


def say_truncation_once() -> None:
    """Put the filter in diffusers' way: the same one before every handler that it has."""
    from diffusers.utils import logging as _  # noqa: F401  makes the handler

    for handler in logging.getLogger("diffusers").handlers:
        handler.addFilter(_ONCE)  # no second time
