"""One run at a time in an output folder."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from diffusion4k.errors import Diffusion4kError

__all__ = ["locked"]


@contextmanager
def locked(output: Path) -> Iterator[None]:
    """Hold the folder (made if absent); the lock ends with the process, however that ends.

    Raises:
        Diffusion4kError: another run holds it, or `output` is a file.
    """
    if output.exists() and not output.is_dir():
        raise Diffusion4kError(f"{output}: a file, no folder: choose another output")
    output.mkdir(parents=True, exist_ok=True)
    with (output / ".lock").open("w") as handle:
        if sys.platform != "win32":
            import fcntl

            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Diffusion4kError(
                    f"{output}: another run is at work there: wait for it, or choose another output"
                ) from None
        yield
