"""With which prompt and seed an image was made: as somebody wrote down, else as it says itself."""

import posixpath
from collections.abc import Iterable
from pathlib import Path

from diffusion4k.data.metadata import METADATA, Row, read_rows
from diffusion4k.errors import Diffusion4kError
from diffusion4k.sampling.files import read_metadata

__all__ = ["prompt_and_seed", "prompts_of", "rows_of"]


def rows_of(folder: Path) -> dict[Path, Row]:
    """The lines of a folder's `metadata.jsonl` by the images that they name; none without one.

    Raises:
        Diffusion4kError: a line that cannot be read.
    """
    metadata = folder / METADATA
    rows: dict[Path, Row] = {}
    for row in read_rows(metadata) if metadata.is_file() else ():
        if not isinstance(row, Row):
            raise Diffusion4kError(str(row))
        rows[folder / posixpath.normpath(row.file_name)] = row
    return rows


def prompt_and_seed(path: Path, row: Row | None) -> tuple[str, int | None]:
    """`text` and `seed` of an image's row, where they are there, else of its record.

    The prompt is empty, the seed None, where nobody knows it. The record's seed goes with the
    record's prompt: it says nothing of an image that somebody calls otherwise.
    """
    prompt, seed = (row.text, row.values.get("seed")) if row else ("", None)
    seed = seed if isinstance(seed, int) else None
    if prompt and seed is not None:
        return prompt, seed
    try:
        record = read_metadata(path)
    except (Diffusion4kError, OSError):
        return prompt, seed  # Whether it can be decoded is found out when it is.
    if prompt in ("", record["prompt"]):
        return record["prompt"], record["seed"] if seed is None else seed
    return prompt, seed


def prompts_of(paths: Iterable[Path]) -> dict[Path, str | None]:
    """The prompts of images, as their folders know them; None for one that is not known.

    Raises:
        Diffusion4kError: a line of `metadata.jsonl` that cannot be read.
    """
    rows: dict[Path, dict[Path, Row]] = {}
    found = {}
    for path in paths:
        # Of the image folder that it belongs to: its own, or one above.
        folder = next((f for f in path.parents if (f / METADATA).is_file()), path.parent)
        if folder not in rows:
            rows[folder] = rows_of(folder)
        found[path] = prompt_and_seed(path, rows[folder].get(path))[0] or None
    return found
