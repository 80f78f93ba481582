"""A model is a folder of its images; each image knows its prompt and seed where they are written.

Prompts come from the folder's `metadata.jsonl` (`text`, and `seed` if it is there), else from the
record that images made by diffusion4k carry. Sub-folders belong to the folder.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusion4k.data.folder import image_files
from diffusion4k.data.metadata import METADATA, Row, read_rows
from diffusion4k.errors import Diffusion4kError, UsageError

__all__ = ["Entry", "Model", "is_inside", "read_models"]


@dataclass(frozen=True)
class Entry:
    """An image of a model."""

    path: Path
    file_name: str
    """Relative to the model's folder, with `/`."""
    prompt: str = ""
    """Empty where it is not known."""
    seed: int | None = None

    @property
    def name(self) -> str:
        """The file name without its ending: the same image of two models may be PNG and JPEG."""
        return self.file_name.rpartition(".")[0]


@dataclass(frozen=True)
class Model:
    """What is shown under one name."""

    name: str
    folder: Path
    entries: list[Entry]


def read_models(arguments: Sequence[str], least: int, most: int) -> list[Model]:
    """Models from `FOLDER` or `NAME=FOLDER` each; a folder without a name is called as it is.

    Raises:
        UsageError: too few or too many, no such folder, or two of one name.
        Diffusion4kError: a folder without images, or bad metadata.
    """
    if not least <= len(arguments) <= most:
        raise UsageError(
            f"{len(arguments)} image folder{'s' * (len(arguments) != 1)} given: allowed are "
            f"{least} to {most}, each FOLDER or NAME=FOLDER"
        )
    named: dict[str, Path] = {}
    for argument in arguments:
        name, folder = _split(argument)
        if not folder.is_dir():
            raise UsageError(f"{folder}: no such folder: give a folder of images")
        if name in named:
            raise UsageError(
                f"{named[name]} and {folder} are both called {name}: give one another name, as in "
                f"other={folder}"
            )
        named[name] = folder
    return [Model(name, folder, _entries(folder)) for name, folder in named.items()]


def is_inside(path: Path, models: Iterable[Model]) -> Model | None:
    """The model in whose folder `path` lies: what is written there would count as its images."""
    place = path.resolve()
    return next((m for m in models if place.is_relative_to(m.folder.resolve())), None)


def _split(argument: str) -> tuple[str, Path]:
    name, equals, folder = argument.partition("=")
    if not equals or Path(argument).is_dir():
        return Path(argument).resolve().name or argument, Path(argument)
    if not name.strip() or not folder:
        raise UsageError(f"{argument}: give FOLDER or NAME=FOLDER")
    return name.strip(), Path(folder)


def _entries(folder: Path) -> list[Entry]:
    rows = _metadata(folder)
    entries = [_entry(path, folder, rows) for path in image_files(folder)]
    if not entries:
        raise Diffusion4kError(f"{folder}: no images in it: give a folder of images")
    named: dict[str, Entry] = {}
    for entry in entries:
        other = named.setdefault(entry.name, entry)
        if other is not entry:
            raise Diffusion4kError(
                f"{entry.path}: differs from {other.path.name} by its ending only: move one of "
                "them away"
            )
    return entries


def _metadata(folder: Path) -> dict[str, dict[str, Any]]:
    if not (folder / METADATA).is_file():
        return {}
    rows: dict[str, dict[str, Any]] = {}
    for row in read_rows(folder / METADATA):
        if not isinstance(row, Row):
            raise Diffusion4kError(str(row))
        rows[Path(row.file_name).as_posix()] = {**row.values, "prompt": row.text}
    return rows


def _entry(path: Path, folder: Path, rows: dict[str, dict[str, Any]]) -> Entry:
    file_name = path.relative_to(folder).as_posix()
    known = rows.get(file_name) or _record(path)
    prompt, seed = known.get("prompt"), known.get("seed")
    return Entry(
        path,
        file_name,
        prompt if isinstance(prompt, str) else "",
        seed if isinstance(seed, int) else None,
    )


def _record(path: Path) -> dict[str, Any]:
    from diffusion4k.sampling.files import read_metadata

    try:
        return read_metadata(path)
    except Diffusion4kError:
        return {}  # Whether it can be decoded is found out when it is.
