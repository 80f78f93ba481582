"""Errors that a user can act on: one line that names the file and value and says what to do.

The command line prints the message of a `Diffusion4kError` without a traceback and exits with
its `exit_code`: 2 when the command itself was wrong, 1 when the work failed.
"""

__all__ = ["Diffusion4kError", "DiskError", "UsageError", "first_line", "one_line"]


class Diffusion4kError(Exception):
    """The work could not be done; the message says why and what to do. Exit code 1."""

    exit_code = 1


class UsageError(Diffusion4kError):
    """The request itself is wrong (option, size, recipe); nothing was started. Exit code 2."""

    exit_code = 2


class DiskError(Diffusion4kError):
    """The disk refuses a file: nothing of what comes after it could be written, either."""


def one_line(said: object, most: int | None = 200) -> str:
    """All that a library's error says, on one line of at most `most` characters."""
    return " ".join(str(said).split())[:most] or type(said).__name__


def first_line(error: BaseException) -> str:
    """The first line of what a library's error says, where the others are advice or a trace."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__
