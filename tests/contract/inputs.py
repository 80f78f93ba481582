"""Ugly inputs by name, each written where a command expects something good.

Grown from what a hostile user, new users and public reports of bad luck came up with. Each maker
gets a path that is not there and a folder of good things beside it (`Good`).
"""

import io
import json
import os
import sqlite3
import struct
import tarfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
from PIL import Image

__all__ = [
    "ANSWERS",
    "DAMAGED",
    "DATABASES",
    "FAULTS",
    "PLACES",
    "PROMPTS",
    "PROMPT_LINES",
    "RECIPES",
    "ROWS",
    "TABLES",
    "TARS",
    "Maker",
    "a_file",
    "a_folder",
    "dangling",
    "fifo",
    "missing",
    "write_pictures",
]

Maker = Callable[[Path, Path], object]
"""Writes at the first path; the second is the folder of a whole tiny model."""


def picture(seed: int, side: int = 256) -> Image.Image:
    """Noise, which nothing takes for flat or blurred."""
    pixels = np.random.default_rng(seed).integers(0, 255, (side, side, 3))
    return Image.fromarray(pixels.astype(np.uint8))


def write_pictures(folder: Path, seed: int = 0) -> Path:
    """Two pictures with captions in `metadata.jsonl`."""
    folder.mkdir(parents=True)
    lines = []
    for number in range(2):
        picture(seed + number).save(folder / f"{number}.png")
        lines.append(json.dumps({"file_name": f"{number}.png", "text": f'A "{number}" of noise.'}))
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def missing(path: Path, _: Path) -> None:
    """Nothing there."""


def a_file(path: Path, _: Path) -> None:
    """A file where a folder is expected."""
    path.write_text("no folder\n")


def a_folder(path: Path, _: Path) -> None:
    """An empty folder, also where a file is expected."""
    path.mkdir()


def fifo(path: Path, _: Path) -> None:
    """Which whoever opens it waits for."""
    os.mkfifo(path)


def dangling(path: Path, _: Path) -> None:
    """A link to nothing."""
    path.symlink_to("moved-away")


def device(path: Path, _: Path) -> None:
    """Which never ends."""
    path.symlink_to("/dev/zero")


# Folders of pictures


def _beside_good(path: Path, name: str | bytes, content: bytes) -> None:
    write_pictures(path)
    place = os.path.join(os.fsencode(path), name if isinstance(name, bytes) else name.encode())  # noqa: PTH118
    with open(place, "wb") as file:  # noqa: PTH123
        file.write(content)


def _named(path: Path, name: str, content: bytes) -> None:
    _beside_good(path, name, content)
    with (path / "metadata.jsonl").open("a") as file:
        file.write(json.dumps({"file_name": name, "text": "What is wrong here."}) + "\n")


def truncated_picture(path: Path, _: Path) -> None:
    """A JPEG of which half is there."""
    content = io.BytesIO()
    picture(9).save(content, "JPEG", quality=95)
    _named(path, "cut.jpg", content.getvalue()[: len(content.getvalue()) // 2])


def no_picture(path: Path, _: Path) -> None:
    """Text that is called a JPEG."""
    _named(path, "text.jpg", b"This is no picture.\n")


def empty_picture(path: Path, _: Path) -> None:
    """A file of no bytes."""
    _named(path, "empty.png", b"")


def huge_header(path: Path, _: Path) -> None:
    """A header that promises 10^9 pixels a side."""
    content = io.BytesIO()
    picture(9).save(content, "PNG")
    whole = content.getvalue()
    _named(path, "huge.png", whole[:16] + struct.pack(">II", 10**9, 10**9) + whole[24:])


def fifo_as_picture(path: Path, _: Path) -> None:
    """A pipe among the pictures."""
    write_pictures(path)
    os.mkfifo(path / "pipe.png")
    with (path / "metadata.jsonl").open("a") as file:
        file.write(json.dumps({"file_name": "pipe.png", "text": "A pipe."}) + "\n")


def dangling_picture(path: Path, _: Path) -> None:
    """A link that leads nowhere among the pictures."""
    write_pictures(path)
    (path / "gone.png").symlink_to("../moved/away.png")
    with (path / "metadata.jsonl").open("a") as file:
        file.write(json.dumps({"file_name": "gone.png", "text": "A link."}) + "\n")


def bad_metadata(content: bytes) -> Maker:
    """Good pictures, and lines that are none."""

    def make(path: Path, _: Path) -> None:
        write_pictures(path)
        (path / "metadata.jsonl").write_bytes(content)

    return make


PLACES: dict[str, Maker] = {
    "missing": missing,
    "file": a_file,
    "empty": a_folder,
    "fifo": fifo,
    "dangling": dangling,
    "device": device,
}
DAMAGED: dict[str, Maker] = {
    "truncated-picture": truncated_picture,
    "no-picture": no_picture,
    "empty-picture": empty_picture,
    "huge-header": huge_header,
}
ROWS: dict[str, Maker] = {
    "fifo-as-picture": fifo_as_picture,
    "dangling-picture": dangling_picture,
    "metadata-no-json": bad_metadata(b"{file_name: 0.png}\n"),
    "metadata-list": bad_metadata(b'["0.png", "A list."]\n'),
    "metadata-outside": bad_metadata(b'{"file_name": "../good/0.png", "text": "Outside."}\n'),
    "metadata-no-text": bad_metadata(b'{"file_name": "0.png", "text": "A\\u0000B"}\n'),
    "metadata-not-utf8": bad_metadata(b'{"file_name": "0.png", "text": "\xff\xfe"}\n'),
    "metadata-deep": bad_metadata(b"[" * 100_000 + b"\n"),
}


# A picture


def _halved(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def _promising(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[:16] + struct.pack(">II", 10**9, 10**9) + whole[24:])


def _piped(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _moved(path: Path) -> None:
    path.unlink()
    path.symlink_to("moved-away.png")


FAULTS: dict[str, Callable[[Path], object]] = {
    "cut": _halved,
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("This is no picture.\n"),
    "huge": _promising,
    "pipe": _piped,
    "dangling": _moved,
}
"""What happens to a sound PNG in its place."""


# Files of settings


def text(content: str | bytes) -> Maker:
    """A file of that content."""

    def make(path: Path, _: Path) -> None:
        path.write_bytes(content.encode() if isinstance(content, str) else content)

    return make


FILES: dict[str, Maker] = {
    "missing": missing,
    "folder": a_folder,
    "fifo": fifo,
    "device": device,
    "dangling": dangling,
    "empty": text(""),
    "not-utf8": text(b"\xff\xfe\xfa: \x80\n"),
    "nul": text("a\0b: 1\n"),
}
_BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
)
RECIPES: dict[str, Maker] = {
    **FILES,
    "list": text("- 1\n- 2\n"),
    "scalar": text("17\n"),
    "deep": text("a: " + "[" * 20_000),
    "bomb": text(_BOMB),
    "twice": text("output: a\noutput: b\n"),
    "list-as-key": text("? [a, b]\n: 1\n"),
    "python-tag": text("a: !!python/object/apply:os.system ['touch escaped']\n"),
    "bad-date": text("output: 2024-13-45\n"),
    "long-number": text(f"seed: {'9' * 5000}\n"),
    "hexadecimal": text("seed: 0x_\n"),
    "empty-number": text('seed: !!int ""\n'),
    "itself": text("&a [*a]\n"),
    "json-nan": text('{"seed": NaN, "unknown": 1}\n'),
    "unknown-key": text("nonsense: 1\n"),
    "large": text("# " + "x" * (1 << 21) + "\n"),
}


# Prompts, tables, archives

PROMPTS: dict[str, Maker] = {
    **{kind: make for kind, make in FILES.items() if kind != "nul"},
    "blank": text("\n\n   \n"),
}
PROMPT_LINES: dict[str, Maker] = {
    "no-json": text("{text: no json}\n"),
    "list": text('["A lake."]\n'),
    "number": text('{"text": 5}\n'),
    "no-text": text('{"txt": "A lake."}\n'),
    "deep": text("[" * 100_000 + "\n"),
    "surrogate": text('{"text": "A \\ud83d lake."}\n'),
    "nul": text('{"text": "A \\u0000 lake."}\n'),
}
TABLES: dict[str, Maker] = {
    **FILES,
    "no-such-column": text("a,b\n1,2\n"),
    "short-row": text("image,rating\n0.png\n"),
    "column-twice": text("image,rating,rating\n0.png,1,2\n"),
    "no-number": text("image,rating\n0.png,good\n"),
    "infinite": text("image,rating\n0.png,inf\n"),
    "out-of-range": text("image,rating\n0.png,99\n"),
    "heading-only": text("image,rating\n"),
    "quote-open": text('image,rating\n"0.png,1\n'),
}
ANSWERS: dict[str, Maker] = {
    **FILES,
    "list": text("[1, 2]\n"),
    "deep": text("[" * 100_000 + "\n"),
    "no-such-key": text('{"a": 1}\n'),
    "number": text("5\n"),
}


def database(make_file: Maker) -> Maker:
    """A study's folder with that as its database."""

    def make(path: Path, model: Path) -> None:
        path.mkdir()
        make_file(path / "study.sqlite", model)

    return make


def foreign_database(path: Path, _: Path) -> None:
    """Tables of another program."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE answer (id INTEGER)")


def cut_database(path: Path, model: Path) -> None:
    """Of which the first page alone is there."""
    foreign_database(path, model)
    path.write_bytes(path.read_bytes()[:4096])


DATABASES: dict[str, Maker] = {
    kind: database(make)
    for kind, make in {
        "none": missing,
        "folder": a_folder,
        "fifo": fifo,
        "device": device,
        "dangling": dangling,
        "text": text("No database.\n"),
        "cut": cut_database,
        "foreign": foreign_database,
    }.items()
}


def tar(member: str | None, content: bytes = b"x", size: int | None = None) -> Maker:
    """A tar of one picture and a member; None: cut off in the middle."""

    def make(path: Path, _: Path) -> None:
        path.mkdir()
        whole = io.BytesIO()
        picture(1).save(whole, "PNG")
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as file:
            entries = [("0.png", whole.getvalue()), (member or "1.png", content)]
            for name, data in entries:
                info = tarfile.TarInfo(name)
                info.size = len(data)
                file.addfile(info, io.BytesIO(data))
        data = archive.getvalue()
        (path / "photos.tar").write_bytes(
            data[: len(whole.getvalue()) // 2] if not member else data
        )

    return make


TARS: dict[str, Maker] = {
    "outside": tar("../../escaped.png"),
    "absolute": tar("/escaped.png"),
    "long-name": tar("x" * 300 + ".png"),
    "no-picture": tar("1.png", b"This is no picture."),
    "cut": tar(None),
}
