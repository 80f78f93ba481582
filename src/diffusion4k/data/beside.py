"""Image folders without a `metadata.jsonl`: captions beside their pictures, or in a table.

a.jpg, a.txt        a picture and its caption (`sidecars`)
metadata.csv        columns file_name and text, as Hugging Face's image folders have it
"""

from collections.abc import Iterator
from pathlib import Path

from diffusion4k.data.metadata import METADATA, Row, row_from
from diffusion4k.data.picture_files import files_below, image_files, unread_files
from diffusion4k.data.problems import Problem
from diffusion4k.data.sidecars import CAPTION_KEYS, Sidecars, caption_of, is_sidecar
from diffusion4k.support.files import leads_out
from diffusion4k.support.text_files import read_table

__all__ = ["TABLE", "has_captions_beside", "rows_beside", "rows_of_table"]

TABLE = "metadata.csv"


def has_captions_beside(folder: Path) -> bool:
    """Whether a picture of the folder has a caption's file of its name beside it."""
    names = {path.relative_to(folder).as_posix() for path in files_below(folder)}
    beside = Sidecars(sorted(name for name in names if is_sidecar(name)))
    return any(beside.of(path.relative_to(folder).as_posix()) for path in image_files(folder))


def rows_of_table(table: Path) -> Iterator[Row | Problem]:
    """The lines of a `metadata.csv`.

    Raises:
        Diffusion4kError: no CSV, or not UTF-8 text.
    """
    read = read_table(table)
    for (number, _), values in zip(read.rows, read.records(), strict=True):
        yield row_from(dict(values), f"{table}:{number}")


def rows_beside(folder: Path, *, as_written: bool = False) -> Iterator[Row | Problem]:
    """Pictures of a folder with the captions that lie beside them, and captions without a picture.

    Args:
        as_written: line ends and repeated blanks are left in the captions.
    """
    sidecars: dict[Path, Sidecars] = {}
    for path in sorted({folder, *(path.parent for path in files_below(folder))}):
        sidecars[path] = Sidecars(sorted(each.name for each in path.iterdir()))
    for path in image_files(folder):
        yield _pair(
            folder,
            path,
            [path.with_name(n) for _, n in sidecars[path.parent].of(path.name)],
            as_written,
        )
    for problem in unread_files(folder):
        sidecars[Path(problem.where).parent].of(Path(problem.where).name)
        yield problem
    for parent, found in sidecars.items():
        for name in found.orphans():
            reason = (
                "there is no picture of this name beside it: put it there, or remove the caption"
            )
            yield Problem(str(parent / name), reason, "caption-alone")


def _pair(folder: Path, path: Path, beside: list[Path], as_written: bool) -> Row | Problem:
    file_name = path.relative_to(folder).as_posix()
    if not beside:
        wanted = path.with_suffix(".txt").name
        reason = f"no {METADATA} names it and no {wanted} is beside it: caption it"
        return Problem(str(path), reason, "unnamed")
    for file in beside:
        try:
            if leads_out(file, folder):
                raise ValueError("a link that leads out of the folder: put the caption itself here")
            text = caption_of(file, CAPTION_KEYS, as_written=as_written)
        except ValueError as error:
            kind = "encoding" if "UTF-8" in str(error) else "caption-missing"
            return Problem(str(file), str(error), kind)
        if text:
            return Row(str(file), file_name, text, {"file_name": file_name, "text": text})
    return Problem(str(beside[0]), "empty: write a caption", "caption-missing")
