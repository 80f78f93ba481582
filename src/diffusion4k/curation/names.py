"""File names that are safe on every system and unique in the dataset."""

import hashlib
import posixpath
import re
import unicodedata

__all__ = ["UniqueNames", "safe_name"]

_LONGEST = 200  # bytes of UTF-8 in a part of a path; file systems allow 255
_UNSAFE = re.compile(r'[\x00-\x1f\x7f<>:"|?*\\]')
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)


class UniqueNames:
    """Hands out names; one that is taken gets eight digits of its source's hash behind it.

    Names that differ in upper and lower case alone are one name, as some file systems have it.
    """

    def __init__(self) -> None:
        # Eight bytes each instead of the names: there may be a hundred million.
        self._taken: set[bytes] = set()

    def name(self, wanted: str, source: str) -> str:
        """The name for what comes from `source`."""
        stem, suffix = posixpath.splitext(safe_name(wanted))
        name, digest = stem + suffix, hashlib.sha256(source.encode()).hexdigest()
        for more in (f"{stem}-{digest[:8]}{suffix}", f"{stem}-{digest}{suffix}"):
            if not self._is_taken(name):
                break
            name = more
        number = 2
        while self._is_taken(name):
            name, number = f"{stem}-{digest[:8]}-{number}{suffix}", number + 1
        self._taken.add(_digest(name))
        return name

    def _is_taken(self, name: str) -> bool:
        return _digest(name) in self._taken


def safe_name(name: str) -> str:
    """A relative path inside the folder, with `/`, that every file system takes.

    Steps upwards, drives and hidden files' dots fall away; what is not allowed becomes `_`.
    """
    text = unicodedata.normalize("NFC", name.encode("utf-8", "replace").decode())
    parts = [_safe_part(part) for part in text.replace("\\", "/").split("/")]
    return "/".join(part for part in parts if part) or "picture"


def _safe_part(part: str) -> str:
    part = _UNSAFE.sub("_", part).strip(" .")
    if _RESERVED.match(part):
        part = f"_{part}"
    stem, suffix = posixpath.splitext(part)
    room = _LONGEST - len(suffix.encode())
    if room < 1:
        stem, suffix, room = part, "", _LONGEST
    return stem.encode()[:room].decode(errors="ignore") + suffix


def _digest(name: str) -> bytes:
    return hashlib.blake2b(name.casefold().encode(), digest_size=8).digest()
