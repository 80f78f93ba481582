"""Text files as people and their programs write them: lines, tables of values, JSON.

A line ends with LF or CR LF, in a file of old with CR, and with nothing else: U+2028, U+0085 or a
form feed are characters of the text. Text is UTF-8, with or without a byte-order mark, or UTF-16
with one. A table's cells are split by comma, semicolon or tab, as spreadsheets save them by
language.
"""

import csv
import errno
import io
import json
import os
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusion4k.errors import Diffusion4kError, UsageError

__all__ = [
    "Table",
    "as_cell",
    "check_plain",
    "json_of",
    "lines_of",
    "printable",
    "read_table",
    "read_text",
    "shortened",
    "text_of",
    "visible",
]

_SEPARATORS = ",;\t"
_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_SAID_SEPARATOR = re.compile(r"sep=([,;\t])\r?\n?", re.IGNORECASE)


@dataclass(frozen=True)
class Table:
    """A header and its rows, each with the number of its line, counted from 1."""

    columns: tuple[str, ...]
    """Column names, without blanks around them."""
    rows: tuple[tuple[int, tuple[str, ...]], ...]
    """Rows with anything in them; each may have fewer or more cells than there are columns."""

    def records(self) -> list[dict[str, str]]:
        """The rows by column; absent cells are absent keys, cells beyond the columns left out."""
        return [dict(zip(self.columns, cells, strict=False)) for _, cells in self.rows]


def text_of(content: bytes) -> str:
    """The text that a file's bytes stand for, without a byte-order mark.

    Raises:
        ValueError: neither UTF-8 nor UTF-16 with a byte-order mark.
    """
    is_utf16 = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        return content.decode("utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("not UTF-8 text: save the file as UTF-8") from None


def lines_of(text: str) -> list[str]:
    """The lines without their ends."""
    if "\n" not in text:
        return text.split("\r")
    return [line.removesuffix("\r") for line in text.split("\n")]


def json_of(content: str | bytes) -> Any:
    """The value that a JSON text from outside stands for.

    Raises:
        ValueError: not JSON, or nested deeper than anything meant is.
    """
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("nested too deep") from None


def shortened(value: object, most: int = 60) -> str:
    """A value from outside as messages show it: escaped, and not longer than `most` characters."""
    try:
        shown = repr(value)
    except (RecursionError, ValueError):  # nested deep, or a number of thousands of digits
        return f"a {type(value).__name__} too large to show"
    return shown if len(shown) <= most else f"{shown[: most - 3]}..."


def printable(text: str) -> str:
    """A text without control characters but line ends and tabs, and without half surrogate pairs.

    Whole pairs become the one character that they stand for.
    """
    text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "ignore")
    return "".join(
        letter for letter in text if letter in "\n\r\t" or unicodedata.category(letter) != "Cc"
    )


def as_cell(value: object) -> object:
    """A value as it is written into a table.

    A text that a spreadsheet would run as a formula stands behind an apostrophe, which `read_table`
    takes away again.
    """
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


def visible(text: str) -> str:
    """A text from outside as a terminal may show it: characters that would command it escaped."""
    return "".join(
        letter
        if letter.isprintable()
        else letter.encode("unicode_escape", "surrogatepass").decode()
        for letter in text
    )


def check_plain(path: Path) -> None:
    """Refuse what exists and is not a regular file: a FIFO would block, a device has no end.

    What a shell's `<(...)` stands for may be read, and so may standard input.

    Raises:
        UsageError: names it.
    """
    if str(path).startswith(("/dev/fd/", "/proc/self/fd/", "/dev/stdin")):
        return
    if path.exists() and not path.is_file():
        what = os.strerror(errno.EISDIR) if path.is_dir() else "not a regular file"
        raise UsageError(f"{path}: cannot be read: {what}")


def read_text(path: Path) -> str:
    """The text of a file that a user named.

    Raises:
        UsageError: no such file, or it may not be read.
        Diffusion4kError: not UTF-8 text.
    """
    check_plain(path)
    try:
        return text_of(path.read_bytes())
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise Diffusion4kError(f"{path}: {error}") from None


def read_table(path: Path) -> Table:
    """The table of a CSV file.

    Raises:
        UsageError: no such file, or it may not be read.
        Diffusion4kError: not UTF-8 text, or no CSV: names the line.
    """
    text = read_text(path)
    said = _SAID_SEPARATOR.match(text)
    head = lines_of(text[said.end() if said else 0 :])[0]
    separator = said[1] if said else max(_SEPARATORS, key=lambda one: len(_cells(head, one)))
    # The line ends are left as they are: within quotation marks they belong to the cell.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    rows: list[tuple[int, tuple[str, ...]]] = []
    try:
        for cells in reader:
            is_said = said is not None and reader.line_num == 1
            if not is_said and any(cell.strip() for cell in cells):
                rows.append((reader.line_num, tuple(map(_as_meant, cells))))
    except csv.Error as error:
        raise Diffusion4kError(f"{path}:{reader.line_num}: not a CSV file ({error})") from None
    columns = rows.pop(0)[1] if rows else ()
    return Table(tuple(name.strip() for name in columns), tuple(rows))


def _as_meant(text: str) -> str:
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def _cells(line: str, separator: str) -> Sequence[str]:
    try:
        return next(csv.reader([line], delimiter=separator), [])
    except csv.Error:
        return []
