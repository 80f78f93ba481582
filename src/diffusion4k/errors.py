"""Errors that a user can act on: one line that names the file and value and says what to do.

The command line prints the message of a `Diffusion4kError` without a traceback and exits with
its `exit_code`: 2 when the command itself was wrong, 1 when the work failed.
"""

__all__ = ["Diffusion4kError", "UsageError"]


class Diffusion4kError(Exception):
    """The work could not be done; the message says why and what to do. Exit code 1."""

    exit_code = 1


class UsageError(Diffusion4kError):
    """The request itself is wrong (option, size, recipe); nothing was started. Exit code 2."""

    exit_code = 2
