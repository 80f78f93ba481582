"""The members of a tar that may have been made to do harm."""

import tarfile
from collections.abc import Iterator

__all__ = ["DAMAGED", "members"]

DAMAGED = (tarfile.TarError, EOFError, ValueError, RecursionError, OverflowError, MemoryError)
"""What `tarfile` raises, beside `OSError`, for headers that make no sense."""


def members(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """The members in order; none is kept, as a tar may hold millions.

    Raises:
        tarfile.ReadError: a header that leads back to what was read: there would be no end.
    """
    last = -1
    for member in tar:
        if member.size < 0 or member.offset <= last:
            raise tarfile.ReadError(f"a header at byte {member.offset} leads back")
        last = member.offset
        yield member
        tar.members.clear()  # type: ignore[attr-defined]
