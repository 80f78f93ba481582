"""A model is a folder of its images; each image knows its prompt and seed where they are written.

Where they are written: see `imagesets.provenance`. Sub-folders belong to the folder.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from diffusion4k.data.folder import photo_folder
from diffusion4k.data.picture_files import image_files, report_unread
from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.imagesets.provenance import prompt_and_seed, rows_of
from diffusion4k.support.bundled import PHOTOGRAPHS, POCKET
from diffusion4k.support.files import leads_out
from diffusion4k.support.wording import counted

__all__ = ["ImageSetEntry", "Model", "is_inside", "named_folders", "read_models"]


@dataclass(frozen=True)
class ImageSetEntry:
    """An image of a model, or of photographs, with what it was made from."""

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

    @property
    def pair(self) -> tuple[str, int] | None:
        """Equal for images of one prompt and seed; None where either is not known."""
        return (self.prompt, self.seed) if self.prompt and self.seed is not None else None


@dataclass(frozen=True)
class Model:
    """What is shown under one name."""

    name: str
    folder: Path
    entries: list[ImageSetEntry]


def read_models(arguments: Sequence[str], least: int, most: int) -> list[Model]:
    """Models from `FOLDER` or `NAME=FOLDER` each; a folder without a name is called as it is.

    The folder `pocket` is that of the bundled photographs. Pictures that cannot be read are
    reported on standard error.

    Raises:
        UsageError: too few or too many, no such folder, one without images, or two of one name.
        Diffusion4kError: bad metadata.
    """
    named = named_folders(arguments, least, most)
    return [Model(name, folder, _entries(folder)) for name, folder in named.items()]


def named_folders(arguments: Sequence[str], least: int, most: int) -> dict[str, Path]:
    """The folders of `read_models` by name, without reading them.

    Raises:
        UsageError: too few or too many, no such folder, or two of one name.
    """
    if not least <= len(arguments) <= most:
        raise UsageError(
            f"{counted(len(arguments), 'image folder')} given: allowed are "
            f"{least} to {most}, each FOLDER or NAME=FOLDER"
        )
    named: dict[str, Path] = {}
    for argument in arguments:
        name, folder = _split(argument)
        if not folder.is_dir():
            found = "is not a folder" if folder.exists() else "no such folder"
            raise UsageError(f"{folder}: {found}: give a folder of images")
        if name in named:
            raise UsageError(
                f"{named[name]} and {folder} are both called {name}: rename one, as in "
                f"other={folder}"
            )
        named[name] = folder
    return named


def is_inside(path: Path, models: Iterable[Model]) -> Model | None:
    """The model in whose folder `path` lies: what is written there would count as its images."""
    resolved = path.resolve()
    return next((m for m in models if resolved.is_relative_to(m.folder.resolve())), None)


def _split(argument: str) -> tuple[str, Path]:
    name, equals, folder = argument.partition("=")
    if argument == POCKET:
        return POCKET, PHOTOGRAPHS
    if not equals or Path(argument).is_dir():
        return Path(argument).resolve().name or argument, Path(argument)
    if not name.strip() or not folder:
        raise UsageError(f"{argument}: give FOLDER or NAME=FOLDER")
    return name.strip(), photo_folder(folder)


def _entries(folder: Path) -> list[ImageSetEntry]:
    rows = rows_of(folder)
    entries = []
    for path in image_files(folder):
        # It would be shown to participants, sent to a judge, or published with a page.
        if leads_out(path, folder):
            raise Diffusion4kError(
                f"{path}: a link that leads out of {folder}: copy the picture, or remove the link"
            )
        name = path.relative_to(folder).as_posix()
        entries.append(ImageSetEntry(path, name, *prompt_and_seed(path, rows.get(path))))
    report_unread(folder, len(entries))
    if not entries:
        raise UsageError(f"{folder}: no images in it: give a folder of images")
    named: dict[str, ImageSetEntry] = {}
    for entry in entries:
        other = named.setdefault(entry.name, entry)
        if other is not entry:
            raise Diffusion4kError(
                f"{entry.path}: differs from {other.path.name} only by its ending: move one of "
                "them away"
            )
    return entries
