"""Versions of the libraries that decide about a result, for the record beside it."""

from importlib.metadata import version

__all__ = ["versions"]

_OF_A_RUN = ("torch", "diffusers", "accelerate")


def versions(*libraries: str) -> dict[str, str]:
    """Versions of this package and of each library, by name; by default those of a training."""
    return {name: version(name) for name in ("diffusion4k", *(libraries or _OF_A_RUN))}
