"""Versions of the libraries that decide about a result, for the record beside it."""

import platform
from importlib.metadata import version

__all__ = ["versions"]

_OF_A_RUN = ("torch", "diffusers", "accelerate")


def versions(*names: str) -> dict[str, str]:
    """Versions of this package and, in this order, of each library or `python`, by name.

    Without names: of the libraries that decide about a training.
    """
    return {
        name: platform.python_version() if name == "python" else version(name)
        for name in ("diffusion4k", *(names or _OF_A_RUN))
    }
