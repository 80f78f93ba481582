"""Pictures of the stages that are done, beside an image that is not.

They are kept until the image is complete, so that a run that was stopped continues at the stage it
had finished. Each is a PNG with the record of an image of its own, made with the stages up to it,
and only taken up by an image that would begin with the very same stages.
"""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diffusion4k.data.images import open_rgb
from diffusion4k.sampling.files import is_present, write_image
from diffusion4k.sampling.request import SamplingSettings

__all__ = ["KeptStages"]


class KeptStages:
    """The finished stages of one image.

    Args:
        path: of the image.
        stay: keep them after the image is complete, in the folder `NAME-stages` beside it; else
            they are removed. Until then they lie in a hidden folder.
    """

    def __init__(self, path: Path, settings: SamplingSettings, *, stay: bool = False) -> None:
        self.settings = settings
        self._hidden = path.with_name(f".{path.stem}.stages")
        self._shown = path.with_name(f"{path.stem}-stages") if stay else None

    def newest(self) -> tuple[int, NDArray[np.uint8]] | None:
        """Number and picture `(height, width, 3)` of the last stage that is there; None: none."""
        for number in reversed(range(len(self.settings.stages or ()) - 1)):
            path, settings = self._path(number), self._up_to(number)
            if is_present(path, settings) and _is_sound(path):
                return number, np.asarray(open_rgb(path))
        return None

    def write(self, number: int, picture: NDArray[np.uint8]) -> None:
        """Keep the picture of a stage."""
        write_image([picture], self._path(number), self._up_to(number))

    def finish(self) -> None:
        """The image is complete."""
        if self._shown and self._hidden.is_dir():
            self._shown.mkdir(exist_ok=True)
            for path in self._hidden.glob("[0-9]*.png"):
                path.replace(self._shown / path.name)
        shutil.rmtree(self._hidden, ignore_errors=True)

    def _path(self, number: int) -> Path:
        assert self.settings.stages
        return self._hidden / f"{number + 1}-{self.settings.stages[number].name}.png"

    def _up_to(self, number: int) -> SamplingSettings:
        assert self.settings.stages
        last = self.settings.stages[number]
        return replace(
            self.settings,
            stages=self.settings.stages[: number + 1],
            width=last.width,
            height=last.height,
            factor=last.factor,
        )


def _is_sound(path: Path) -> bool:
    """Whether the checksums of a PNG's chunks are right: not every damage stops its decoder."""
    try:
        with Image.open(path) as image:
            image.verify()
    except (OSError, SyntaxError):
        return False
    return True
