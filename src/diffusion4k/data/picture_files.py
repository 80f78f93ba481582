"""Which files of a folder are pictures, and which only look like it and cannot be read.

No picture is passed over in silence: whoever lists a folder reads it or names it.
"""

import posixpath
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from diffusion4k.data.images import SUFFIXES
from diffusion4k.data.metadata import METADATA
from diffusion4k.data.problems import Problem, report_skipped
from diffusion4k.errors import UsageError
from diffusion4k.support.bundled import photo_folder
from diffusion4k.support.text_files import visible
from diffusion4k.support.wording import counted, natural_key

__all__ = [
    "files_below",
    "image_files",
    "is_picture",
    "list_images",
    "looks_like_picture",
    "report_unread",
    "unread_files",
    "why_unread",
]

_RAW = (".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".pef", ".raf", ".raw", ".rw2", ".srw")
_OTHERS = (".heic", ".heif", ".hif", ".jxl", ".tga", ".psd", ".exr", ".hdr", ".svg", ".ico")
_UNREAD = frozenset((*_RAW, *_OTHERS))

_BEGINNINGS = (
    *(b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*"),
    b"\0\0\0\x0cjP  \r\n\x87\n",
)


def is_picture(path: Path) -> bool:
    """Whether a file is taken for a picture: by its ending, or without one by its first bytes.

    A name that is no UTF-8 text is that of none: captions, caches and tables are by name.
    """
    return _is_one(path) and _is_text(path)


def why_unread(path: Path) -> str | None:
    """Why a file that looks like a picture cannot be read as one, with what to do; else None."""
    ending = path.suffix.lower()
    if path.name.startswith(".") or path.is_dir():
        return None
    if not _is_text(path) and (looks_like_picture(path.name) or _is_one(path)):
        return "its name is not UTF-8 text: rename it"
    if ending in _UNREAD:
        return f"not read: {ending} files: save it as PNG, TIFF or JPEG, or move it away"
    if ending not in SUFFIXES or path.is_file():
        return None
    if path.is_symlink() and not path.exists():
        return "a broken link: put the picture itself here, or remove it"
    return "not a regular file: put the picture itself here, or remove it"


def looks_like_picture(name: str) -> bool:
    """Whether a name ends as that of a picture, of a kind that is read or not."""
    ending = posixpath.splitext(name)[1].lower()
    return ending in SUFFIXES or ending in _UNREAD


def image_files(folder: Path) -> Iterator[Path]:
    """Pictures of the folder in order, without those of image folders within it."""
    return (path for path in files_below(folder) if is_picture(path))


def unread_files(folder: Path, named: Iterable[str] = ()) -> Iterator[Problem]:
    """Why each other file in there that looks like a picture is not read.

    Args:
        named: names relative to the folder that are left out.
    """
    known = set(named)
    for path in files_below(folder):
        if (reason := why_unread(path)) and path.relative_to(folder).as_posix() not in known:
            yield Problem(str(path), reason, "unread")


def report_unread(folder: Path, read: int) -> None:
    """Say on standard error which files of a folder are not read, and how many of how many.

    Args:
        read: how many of its pictures are.
    """
    unread = list(unread_files(folder))
    report_skipped(unread)
    if unread:
        total = counted(read + len(unread), "picture")
        print(f"{visible(str(folder))}: {read} of {total} read", file=sys.stderr, flush=True)


def files_below(folder: Path) -> Iterator[Path]:
    """Files and links of the folder in order, but hidden ones and image folders within it."""
    for path in sorted(folder.iterdir(), key=lambda path: natural_key(path.name)):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            if not path.is_symlink() and not (path / METADATA).is_file():
                yield from files_below(path)
        else:
            yield path


def _is_one(path: Path) -> bool:
    if path.name.startswith(".") or not path.is_file():
        return False
    return path.suffix.lower() in SUFFIXES or (not path.suffix and _begins_as_one(path))


def _is_text(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _begins_as_one(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            start = file.read(12)
    except OSError:
        return False
    is_webp = start[:4] == b"RIFF" and start[8:] == b"WEBP"
    return start.startswith(_BEGINNINGS) or is_webp or start[4:] == b"ftypavif"


def list_images(folder: str | Path, *, quiet: bool = False) -> list[Path]:
    """Images of a folder and its sub-folders, by name.

    What looks like one but is not read is reported, unless `quiet`: by whoever lists it again.

    `pocket` is the folder of the bundled photographs. Hidden files are left out, as are image
    folders within it (with a `metadata.jsonl` of their own) and the stages of images that
    `generate --keep-stages` leaves beside them.

    Raises:
        UsageError: there is none.
    """
    folder = photo_folder(folder)
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "no such folder"
        raise UsageError(f"{folder}: {what}: give a folder of images")
    paths = [
        path
        for path in image_files(folder)
        if not any(part.endswith("-stages") for part in path.relative_to(folder).parts[:-1])
    ]
    if not quiet or not paths:
        report_unread(folder, len(paths))
    if not paths:
        raise UsageError(f"{folder}: holds no images ({', '.join(sorted(SUFFIXES))})")
    return paths
