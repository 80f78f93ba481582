"""What the disk refuses while a dataset is written, in one line."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from diffusion4k.errors import Diffusion4kError

__all__ = ["written"]


@contextmanager
def written(path: Path) -> Iterator[None]:
    """Around the writing of `path`.

    Raises:
        Diffusion4kError: it cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise Diffusion4kError(
            f"{path}: cannot be written ({error.strerror or error}): make room or choose another "
            "output; what is finished is kept, the same command goes on"
        ) from error
