"""Random crops of photographs as pixels, each a function of its position in the run.

The photographs form one endless sequence (see `sequence`).
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from diffusion4k.data.folder import Photo
from diffusion4k.data.images import open_rgb
from diffusion4k.data.pixels import normalised
from diffusion4k.data.problems import Problem, report_skipped
from diffusion4k.data.sequence import EndlessSequence, Step
from diffusion4k.errors import Diffusion4kError, UsageError

__all__ = ["ImageCrops"]


class ImageCrops:
    """Crops of photographs; a thread or several may ask for them."""

    def __init__(
        self,
        photos: Sequence[Photo],
        *,
        crop: tuple[int, int],
        resolution: int | None,
        seed: int,
        flip: bool = False,
        skip_bad: bool = False,
    ) -> None:
        """`crop` is width and height in pixels.

        A photograph is scaled down (Lanczos) to a shorter side of `resolution` before it is
        cropped, never up; `None` leaves all as they are. `flip` mirrors every second crop.
        `skip_bad` leaves out photographs that are too small and takes the next one where pixels
        cannot be decoded; both are reported on standard error.

        Raises:
            UsageError: a photograph smaller than the crop without `skip_bad`, or all of them.
        """
        self._crop, self._resolution = crop, resolution
        self._flip, self._skip_bad = flip, skip_bad
        small = [photo for photo in photos if not self._fits(photo.width, photo.height)]
        if small and not (skip_bad and len(small) < len(photos)):
            photo, (width, height) = small[0], crop
            raise UsageError(
                f"{photo.path}: {photo.width}x{photo.height} pixels, less than the crop "
                f"{width}x{height} (resolution {resolution or 'its own'}): choose a smaller crop "
                "or another resolution, or leave such photographs out with --skip-bad"
            )
        report_skipped(Problem(str(p.path), "smaller than the crop") for p in small)
        self._photos = [photo for photo in photos if photo not in small]
        self._broken: set[int] = set()
        self._sequence = EndlessSequence(len(self._photos), seed)

    def sample(self, place: int) -> Tensor:
        """The crop at a position of the sequence, `(3, H, W)` float32 in [-1, 1].

        Raises:
            Diffusion4kError: pixels that cannot be decoded, unless they are to be skipped.
        """
        across, down, mirrored = self._sequence.random(place).random(3)
        image = self._open(self._sequence.epoch_from(place))
        width, height = self._crop
        columns, rows = self._size(image.width, image.height)
        left, top = int(across * (columns - width + 1)), int(down * (rows - height + 1))
        scale = image.width / columns, image.height / rows
        box = (
            left * scale[0],
            top * scale[1],
            min((left + width) * scale[0], image.width),
            min((top + height) * scale[1], image.height),
        )
        # Without scaling Pillow cuts out pixels as they are.
        pixels = np.array(image.resize(self._crop, Image.Resampling.LANCZOS, box=box))
        if self._flip and mirrored < 0.5:
            pixels = pixels[:, ::-1].copy()
        return normalised(pixels)[0]

    def read(self, steps: Iterable[Step], workers: int) -> Iterator[tuple[Step, list[Tensor]]]:
        """The steps, each with its micro-batches `(B, 3, H, W)`, read one ahead in threads.

        Raises:
            Diffusion4kError: as `sample`.
        """
        with ThreadPoolExecutor(workers) as pool:
            coming: deque[tuple[Step, list[list[Future[Tensor]]]]] = deque()
            for step in steps:
                coming.append((step, [[pool.submit(self.sample, p) for p in m] for m in step]))
                if len(coming) > 1:
                    yield _gathered(*coming.popleft())
            while coming:
                yield _gathered(*coming.popleft())

    def _open(self, order: Iterable[int]) -> Image.Image:
        """The first photograph of `order`, or of those that can be read."""
        for index in order:
            photo = self._photos[index]
            try:
                return open_rgb(photo.path)
            except Diffusion4kError as error:
                if not self._skip_bad:
                    raise Diffusion4kError(f"{error}, or leave it out with --skip-bad") from None
                if index not in self._broken:
                    self._broken.add(index)
                    reason = str(error).removeprefix(f"{photo.path}: ")
                    report_skipped([Problem(str(photo.path), reason)])
        raise Diffusion4kError("no photograph can be read any longer: see the reasons above")

    def _size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height after scaling."""
        shorter = min(width, height)
        wanted = min(self._resolution or shorter, shorter)
        return width * wanted // shorter, height * wanted // shorter

    def _fits(self, width: int, height: int) -> bool:
        columns, rows = self._size(width, height)
        return columns >= self._crop[0] and rows >= self._crop[1]


def _gathered(step: Step, crops: list[list[Future[Tensor]]]) -> tuple[Step, list[Tensor]]:
    return step, [torch.stack([crop.result() for crop in micro]) for micro in crops]
