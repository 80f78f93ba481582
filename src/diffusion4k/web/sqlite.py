"""What can be wrong with an SQLite file, in one line; nothing here needs more than Python."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from diffusion4k.errors import Diffusion4kError, one_line

__all__ = ["DatabaseKind", "address_of", "refusal"]

_HEADER = 100


@dataclass(frozen=True)
class DatabaseKind:
    """Application and table version of a database: two numbers in the header of the file."""

    application: int
    """`PRAGMA application_id`."""
    version: int
    """`PRAGMA user_version`."""

    def check_file(self, path: Path) -> None:
        """Refuse a file with other numbers before it is opened, which may change it.

        Raises:
            Diffusion4kError: says which.
        """
        if not path.is_file():
            return
        with suppress(OSError), path.open("rb") as file:
            header = file.read(_HEADER)
            if len(header) == _HEADER and header.startswith(b"SQLite format 3\0"):
                # https://sqlite.org/fileformat.html#the_database_header
                schema, version, application = (
                    int.from_bytes(header[start : start + 4], "big") for start in (40, 60, 68)
                )
                if schema:  # Without one a log beside the file may hold all of it.
                    self.check(path, application, version)

    def check(self, path: Path, application: int, version: int) -> None:
        """Refuse a file with other numbers.

        Raises:
            Diffusion4kError: says which.
        """
        if application != self.application:
            raise Diffusion4kError(f"{path}: another program's database: move it away")
        if version != self.version:
            raise Diffusion4kError(
                f"{path}: version {version} of its tables, known here is {self.version}: use the "
                "diffusion4k that wrote it, or move the file away to start over"
            )


def address_of(path: Path) -> str:
    """The file as SQLite's URI, opened for writing if that is allowed, and never made.

    Reading needs the right to write too where a killed writer left a journal to be rolled back.
    """
    return f"{path.absolute().as_uri()}?mode=rw"  # `as_uri` escapes what has a meaning in it


def refusal(path: Path, error: BaseException | None) -> Diffusion4kError:
    """What SQLite has against it, and what to do."""
    return Diffusion4kError(f"{path}: {_reason(one_line(error, None))}")


def _reason(found: str) -> str:
    if "locked" in found:
        return "another program is writing to it: close that, then try again"
    if "readonly" in found:
        return "not writable: check the permissions of the file and its folder"
    if "unable to open" in found:
        return "cannot be opened: check that it exists, and that its folder is writable"
    if "not a database" in found or "malformed" in found:
        return f"not an intact SQLite database ({found}): move it away"
    if "full" in found:
        return "the disk is full: make room, then try again"
    return f"SQLite refuses ({found})"
