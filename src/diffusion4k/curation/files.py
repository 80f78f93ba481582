"""What the disk refuses while a dataset is written, in one line."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from diffusion4k.errors import Diffusion4kError

__all__ = ["DiskError", "written"]


class DiskError(Diffusion4kError):
    """A file of the dataset cannot be written: nothing of what comes after it could be, either."""


@contextmanager
def written(path: Path) -> Iterator[None]:
    """Around the writing of `path`.

    Raises:
        DiskError: it cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise DiskError(
            f"{path}: cannot be written ({error.strerror or error}): make room or choose another "
            "output; finished work is kept, the same command continues"
        ) from error
