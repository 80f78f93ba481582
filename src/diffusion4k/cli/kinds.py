"""Which command a YAML file is for, reported when it is given to another one."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from diffusion4k.errors import UsageError

__all__ = ["of_this_kind", "refuse_other_kinds"]

_SIGNS = {
    "train": {"resolution"},
    "vae train": {"adversarial", "loss", "perceptual", "start"},
    "benchmark": {"models"},
    "ablate": {"arms"},
    "dataset build": {"sources"},
    "study check": {"task"},
}
"""Keys that files for no other command have."""


def refuse_other_kinds(path: Path, verb: str) -> None:
    """If a file that cannot be read for `verb` is for another command, name that command.

    Raises:
        UsageError: it is for another command.
    """
    if other := _other_verb(path, verb):
        raise UsageError(f"{path}: is for another command: diffusion4k {other} {path}")


@contextmanager
def of_this_kind(path: Path, verb: str) -> Iterator[None]:
    """`refuse_other_kinds` if the block is refused."""
    try:
        yield
    except UsageError:
        refuse_other_kinds(path, verb)
        raise


def _other_verb(path: Path, verb: str) -> str | None:
    from diffusion4k.config.read import top_keys

    try:
        keys = top_keys(path)
    except UsageError:
        return None
    if keys & _SIGNS[verb]:
        return None
    return next((other for other, signs in _SIGNS.items() if keys & signs), None)
