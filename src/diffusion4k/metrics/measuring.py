"""The one road from pictures to findings: each decoded once, several at a time, in order.

A thread takes a picture through all measures that have not seen it yet. Decoding, NumPy, Pillow,
numba and torch let go of the interpreter's lock, so that threads keep the cores busy, and each
works alone on its picture, as cores that share one wait for each other. What is found goes to
the store; only numbers stay in memory, and features are read back when a distance asks for them.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diffusion4k.errors import Diffusion4kError
from diffusion4k.metrics.measure import Measure
from diffusion4k.metrics.picture import MeasuredImage
from diffusion4k.metrics.selection import takes_prompts
from diffusion4k.metrics.store import MeasureStore, StoreError, read_features
from diffusion4k.support.cores import cores
from diffusion4k.support.prefetch import prefetch
from diffusion4k.support.wording import counted

__all__ = ["Measured", "measure_all", "measure_folder", "name_in"]


@dataclass(frozen=True)
class Measured:
    """What all measures found in one picture, or the one line that says why they could not."""

    path: Path
    numbers: dict[str, float] = field(default_factory=dict)
    kept: dict[str, Path] = field(default_factory=dict)
    """The file of the store that holds each of the features, by their name."""
    problem: str = ""

    def features(self, name: str) -> NDArray[np.float32]:
        """`(n, D)`, read from the store. Raises `Diffusion4kError` if that is gone."""
        return read_features(self.kept[name], name)


def measure_all(
    pictures: Iterable[MeasuredImage],
    measures: Sequence[Measure],
    store: MeasureStore,
    *,
    workers: int | None = None,
) -> Iterator[Measured]:
    """The findings in each picture, in order; `workers` pictures at a time (None: one per core).

    A picture that one of the measures cannot measure has no findings at all but its `problem`, so
    that every column is of the same pictures.

    Raises:
        StoreError: the store's folder cannot be written.
    """
    with _one_thread_in_torch():
        yield from prefetch(
            lambda picture: _measure(picture, measures, store),
            pictures,
            workers=workers or cores(),
        )


def measure_folder(
    folder: Path,
    pictures: Sequence[MeasuredImage],
    measures: Sequence[Measure],
    store: MeasureStore,
    on_each: Callable[[Measured], object] = lambda _: None,
) -> tuple[list[Measured], list[Measured]]:
    """The findings in a folder's pictures, in order, and the pictures that cannot be measured.

    Measures that need a prompt are left out where one is not known. `on_each` is called as soon as
    a picture is done.

    Raises:
        StoreError: the store's folder cannot be written.
        Diffusion4kError: none of the pictures can be measured.
    """
    good: list[Measured] = []
    bad: list[Measured] = []
    measures = takes_prompts(measures, [picture.prompt for picture in pictures])
    for found in measure_all(pictures, measures, store):
        (bad if found.problem else good).append(found)
        on_each(found)
    if bad and not good:
        name, why = name_in(folder, bad[0].path), bad[0].problem
        raise Diffusion4kError(
            f"{folder}: none of its {counted(len(bad), 'image')} could be measured; {name}: {why}"
        )
    return good, bad


def name_in(folder: Path, path: Path) -> str:
    """An image's name below its folder; a cropped one lies elsewhere."""
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name


@contextmanager
def _one_thread_in_torch() -> Iterator[None]:
    """New threads take over the count set here; torch's own would compete with ours."""
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _measure(picture: MeasuredImage, measures: Sequence[Measure], store: MeasureStore) -> Measured:
    # The pixels belong to this copy, and go with it.
    picture = MeasuredImage(picture.path, picture.prompt, picture.original)
    numbers: dict[str, float] = {}
    kept: dict[str, Path] = {}
    try:
        for measure, place in zip(measures, store.places(picture, measures), strict=True):
            found = store.find(place)
            if found is None:
                found = measure(picture)
                store.keep(place, found)
            numbers |= found.numbers
            kept |= dict.fromkeys(found.features, place)
    except StoreError:
        raise
    except Diffusion4kError as error:
        return Measured(picture.path, problem=str(error).removeprefix(f"{picture.path}: "))
    return Measured(picture.path, numbers, kept)
