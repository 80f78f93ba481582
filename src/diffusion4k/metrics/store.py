"""Results of measures, kept on disk: no picture is measured twice by one measure.

A file per picture and measure. Its name comes of the picture's content, the measure's name and its
protocol (of the prompt and the original's content as well, where the measure reads them), so
that renamed pictures are known again, a new measure is made alone, and nothing found under one
protocol is taken for another's. A file that is damaged counts as absent.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from diffusion4k import __version__
from diffusion4k.errors import Diffusion4kError
from diffusion4k.metrics.measure import Found, Measure
from diffusion4k.metrics.picture import MeasuredImage
from diffusion4k.support.files import atomic_path, sha256_of
from diffusion4k.support.text_files import json_of

__all__ = ["MeasureStore", "StoreError", "read_features"]

_NUMBERS = "numbers"


class StoreError(Diffusion4kError):
    """The folder cannot be written: no picture is at fault."""


class MeasureStore:
    """Findings in the files of `folder`; threads and processes may share it."""

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder)
        self._writing = Lock()

    def places(self, picture: MeasuredImage, measures: Sequence[Measure]) -> list[Path]:
        """The file of each measure's findings in the picture, be it there or not.

        Raises:
            Diffusion4kError: the picture, or the original that a measure needs, cannot be read; or
                the picture has no such original or prompt.
        """
        _check(picture, measures)
        content = _content(picture.path)
        original = None
        if picture.original and any(measure.needs_original for measure in measures):
            original = _content(picture.original)
        return [
            self._folder
            / measure.name
            / _key(
                content,
                measure,
                picture.prompt if measure.needs_prompt else None,
                original if measure.needs_original else None,
            )
            for measure in measures
        ]

    def find(self, path: Path) -> Found | None:
        """What is kept there; None if nothing is, or a damaged file."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="numpy") as file:
                numbers = json_of(file.metadata()[_NUMBERS])
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError, KeyError, TypeError, ValueError):
            return None
        return Found(numbers, arrays)

    def keep(self, path: Path, found: Found) -> None:
        """Write it there, wholly or not at all.

        Raises:
            StoreError: the disk is full, or the folder may not be written.
        """
        from safetensors.numpy import save_file

        arrays = {name: np.ascontiguousarray(array) for name, array in found.features.items()}
        try:
            # One at a time, as two pictures of the same content write to the same file.
            with self._writing, atomic_path(path) as temporary:
                save_file(arrays, temporary, metadata={_NUMBERS: json.dumps(found.numbers)})
        except OSError as error:
            raise StoreError(
                f"{path.parent}: cannot be written ({error.strerror}): make room there, or keep "
                "measurements in another folder"
            ) from error


def read_features(path: Path, name: str) -> NDArray[np.float32]:
    """One kept array, without the others of its file.

    Raises:
        Diffusion4kError: it was removed or damaged since it was measured.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            array: NDArray[np.float32] = file.get_tensor(name)
    except (OSError, SafetensorError) as error:
        raise Diffusion4kError(
            f"{path}: kept measurements are missing or damaged: run the same command again"
        ) from error
    return array


def _check(picture: MeasuredImage, measures: Sequence[Measure]) -> None:
    """Refuse a picture without the prompt or the original that a measure needs."""
    for what, given in (("prompt", picture.prompt), ("original", picture.original)):
        needing = [m.name for m in measures if getattr(m, f"needs_{what}")]
        if given is None and needing:
            raise Diffusion4kError(
                f"{picture.path}: has no {what}, which is needed for {', '.join(needing)}"
            )


def _content(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError as error:
        raise Diffusion4kError(
            f"{path}: cannot be read ({error.strerror}): give an image file"
        ) from error


def _key(content: str, measure: Measure, prompt: str | None, original: str | None) -> str:
    what = [content, measure.name, measure.protocol, prompt, original, __version__]
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:40] + ".safetensors"
