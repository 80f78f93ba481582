"""A check of one picture of a dataset: decoded to its last pixel, its name and caption judged."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from diffusion4k.curation.duplicates import Fingerprint, fingerprint
from diffusion4k.curation.verify.captions import caption_problems
from diffusion4k.curation.verify.kinds import is_correctable
from diffusion4k.curation.verify.parts import DatasetPart
from diffusion4k.data.folder import Photo
from diffusion4k.data.images import ENDINGS, image_header, open_rgb
from diffusion4k.data.problems import Problem
from diffusion4k.errors import Diffusion4kError
from diffusion4k.support.files import leads_out

__all__ = ["VerifiedPhoto", "damage", "endings_of", "look"]


@dataclass
class VerifiedPhoto:
    """A picture with its caption, its pixels and what is wrong with it."""

    part: DatasetPart
    photo: Photo
    """`path` leads to the file while its part is open."""
    bytes: int = 0
    fingerprint: Fingerprint | None = None
    """None if it cannot be decoded."""
    ending: str = ""
    """Ending that matches the content."""
    problems: list[Problem] = field(default_factory=list)

    @property
    def pixels(self) -> str | None:
        """Hash of size and pixels; None if they cannot be decoded."""
        return self.fingerprint.pixel_hash if self.fingerprint else None

    @property
    def is_correctable(self) -> bool:
        """Whether it may be in a corrected copy."""
        return all(is_correctable(problem.kind) for problem in self.problems)

    @property
    def where(self) -> str:
        """The file, also of one that is packed."""
        return str(self.part.path / self.photo.file_name)

    def add(self, kind: str, reason: str) -> None:
        """Note a problem."""
        self.problems.append(Problem(self.where, reason, kind))


def endings_of(image_format: str) -> tuple[str, ...]:
    """Endings that file names of this format have, the usual one first."""
    return ENDINGS[image_format]


def damage(path: Path) -> str | None:
    """Why a picture cannot be decoded to its last pixel; None if it can."""
    try:
        open_rgb(path)
    except Diffusion4kError as error:
        return str(error).removeprefix(f"{path}: ")
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return None


def look(part: DatasetPart, photo: Photo, root: Path) -> VerifiedPhoto:
    """Decode the photograph and judge it by itself.

    Args:
        root: the folder that its file must lie in.
    """
    picture = VerifiedPhoto(part, photo)
    if leads_out(photo.path, root):
        target = photo.path.resolve()
        picture.add("symlink", f"a link to {target}, outside the dataset: put the file here")
    try:
        picture.bytes = photo.path.stat().st_size
        endings = endings_of(image_header(photo.path).format)
        pixels = np.asarray(open_rgb(photo.path))
    except Diffusion4kError as error:
        picture.add("broken", str(error).removeprefix(f"{photo.path}: "))
    except OSError as error:
        picture.add("broken", f"cannot be read: {error.strerror}")
    else:
        picture.fingerprint = fingerprint(pixels)
        suffix = photo.path.suffix
        picture.ending = suffix if suffix.lower() in endings else endings[0]
        if picture.ending != suffix:
            found = f'ends in "{suffix}"' if suffix else "has no ending"
            picture.add("ending", f"{found}, its content is {endings[0]}: rename it")
    for kind, reason in caption_problems(photo.text):
        picture.add(kind, reason)
    return picture
