"""FID and patch-FID: the Fréchet distance of Inception-v3's 2048 features, by a named protocol.

FID compares only within one protocol, and the resizing alone moves it by whole points.
An `InceptionResize` says how a picture comes to the network's 299x299 pixels:

1. `side` (if any): the shorter side is resized to `side` and the central square is cut, as
   torchvision's `resize` and `center_crop` do on uint8 tensors: bilinear, antialiased, rounded.
2. `resize` to 299x299:
   - `tensorflow`: TensorFlow 1's way, bilinear, aliased (Heusel et al., torch-fidelity, and
     torchmetrics up to 1.7).
   - `torchmetrics`: bilinear, antialiased, not rounded: as torchmetrics has it since 1.8.
   - `clean`: bicubic, antialiased, in floats (Parmar et al., Clean-FID, arXiv 2104.11222).

Diffusion-4K's numbers are `InceptionResize("tensorflow", side)`, as its evaluation pins
torchmetrics 1.5, with `side` the size of the images it made, 2048 or 4096, for real and made
pictures alike; UltraFlux's and others' are of protocols that are not published to the digit.

**Patch-FID** takes patches of 299x299 at native size on an even grid, which need no resizing: it is
the one that sees detail. Patches of one picture are not independent samples.

With no more samples than 2048 the covariance is singular and the distance too high, the more the
fewer: `FewSamplesWarning`. Source: Heusel et al., arXiv 1706.08500.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from diffusion4k.config.types import Count, Section, Text
from diffusion4k.errors import UsageError
from diffusion4k.metrics.frechet import frechet_distance
from diffusion4k.metrics.images import ImageLike, as_array
from diffusion4k.metrics.kid import kid_of_folders
from diffusion4k.metrics.measure import (
    Column,
    Distance,
    Found,
    FrechetDistance,
    Measure,
    MeasureSetup,
)
from diffusion4k.metrics.picture import MeasuredImage

if TYPE_CHECKING:
    from torch import Tensor

    from diffusion4k.metrics.architectures.inception import InceptionV3

__all__ = ["FidMeasure", "InceptionResize", "PatchFidMeasure", "Resize", "features", "fid"]

Resize = Literal["torchmetrics", "tensorflow", "clean"]
"""How a picture comes to Inception's 299x299 pixels; see the module's text."""

_SIDE = 299


@dataclass(frozen=True)
class InceptionResize:
    """How a picture comes to 299x299; see the module's text. Raises `UsageError` for `side` < 1."""

    resize: Resize = "tensorflow"
    side: int | None = 2048

    def __post_init__(self) -> None:
        if self.side is not None and self.side < 1:
            raise UsageError(f"FID at side {self.side}: it must be at least 1")

    def pixels(self, image: NDArray[np.uint8]) -> "Tensor":
        """`(1, 3, 299, 299)` with values 0 to 255 of `(H, W, 3)`."""
        import torch

        from diffusion4k.metrics.architectures.inception import resize_like_tensorflow

        x = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float()
        if self.side is not None:
            x = _central_square(x, self.side)
        if self.resize == "tensorflow":
            return resize_like_tensorflow(x, _SIDE)
        if self.resize == "clean":
            return _resize_clean(x)
        return _bilinear(x, _SIDE, _SIDE)

    def __str__(self) -> str:
        square = f"central square at {self.side}, then " if self.side else "whole picture, "
        return f"{square}{self.resize} to {_SIDE}x{_SIDE}"


def features(
    images: Iterable[ImageLike], network: "InceptionV3", protocol: InceptionResize | None = None
) -> NDArray[np.float32]:
    """Features `(N, 2048)` of N images."""
    protocol = protocol or InceptionResize()
    found = [network.features_at_299(protocol.pixels(as_array(image))) for image in images]
    return np.concatenate(found) if found else np.empty((0, network.dimension), np.float32)


def fid(
    images: Iterable[ImageLike],
    references: Iterable[ImageLike],
    network: "InceptionV3",
    protocol: InceptionResize | None = None,
) -> float:
    """FID of two sets of at least two images each."""
    sets = (features(images, network, protocol), features(references, network, protocol))
    return frechet_distance(*sets)


class InceptionSection(Section):
    """Weights of Inception-v3, and how pictures come to it."""

    inception: Text | None = None
    """Weights for FID, KID and patch-FID: pt_inception-2015-12-05-6726825d.pth."""
    fid_resize: Resize = "tensorflow"
    """The paper's; see `fid`."""
    fid_side: Count | None = 2048
    """The central square at this side comes first, as in the paper: the size of its images. None:
    the whole picture."""
    patch_size: Count = 299
    patches_per_image: Count = 64


class FidMeasure(Measure):
    """Inception's features of each picture, for FID and KID."""

    name = "fid"
    columns: tuple[Column, ...] = (
        FrechetDistance("fid", "FID", "lower", 2, "inception"),
        Distance("kid", "KID x1000", "lower", 3, "inception", kid_of_folders),
    )
    position = 130
    section = InceptionSection

    def __init__(self, network: "InceptionV3", protocol: InceptionResize | None = None) -> None:
        self._network, self._how = network, protocol or InceptionResize()
        self.protocol = f"Inception-v3, {self._how}, weights {network.fingerprint()}"

    @classmethod
    def make(cls, setup: MeasureSetup) -> "FidMeasure":
        """By the weights that `inception` names and the protocol in `fid_`."""
        section = setup.section(InceptionSection)
        return cls(_inception(setup), InceptionResize(section.fid_resize, section.fid_side))

    def __call__(self, picture: MeasuredImage) -> Found:
        return Found(features={"inception": features([picture.pixels], self._network, self._how)})


class PatchFidMeasure(Measure):
    """Inception's features of a picture's native patches, for patch-FID."""

    name = "fid_patch"
    columns: tuple[Column, ...] = (
        FrechetDistance("fid_patch", "patch-FID", "lower", 2, "inception_patches"),
    )
    position = 131
    section = InceptionSection

    def __init__(
        self, network: "InceptionV3", patch_size: int = _SIDE, per_image: int | None = 64
    ) -> None:
        self._network, self._patch_size, self._per_image = network, patch_size, per_image
        weights = network.fingerprint()
        self.protocol = (
            f"Inception-v3, at most {per_image} native patches of {patch_size}, weights {weights}"
        )

    @classmethod
    def make(cls, setup: MeasureSetup) -> "PatchFidMeasure":
        """By the weights that `inception` names."""
        section = setup.section(InceptionSection)
        return cls(_inception(setup), section.patch_size, section.patches_per_image)

    def __call__(self, picture: MeasuredImage) -> Found:
        patches = self._network.patches(picture.pixels, self._patch_size, self._per_image)
        return Found(features={"inception_patches": patches})


def _inception(setup: MeasureSetup) -> "InceptionV3":
    from diffusion4k.metrics.architectures.inception import InceptionV3

    return setup.once(InceptionV3, setup.weights("inception"), setup.device)


def _central_square(x: "Tensor", side: int) -> "Tensor":
    """Central square of `(1, 3, H, W)`, whole values; torchvision's arithmetic, to the bit."""
    height, width = x.shape[2:]
    short, long = min(height, width), max(height, width)
    new_long = int(side * long / short)
    new_height, new_width = (side, new_long) if height <= width else (new_long, side)
    if (new_height, new_width) != (height, width):
        x = _bilinear(x, new_height, new_width).round()
    top, left = round((new_height - side) / 2), round((new_width - side) / 2)
    return x[:, :, top : top + side, left : left + side]


def _bilinear(x: "Tensor", height: int, width: int) -> "Tensor":
    from torch.nn.functional import interpolate

    return interpolate(x, (height, width), mode="bilinear", align_corners=False, antialias=True)


def _resize_clean(x: "Tensor") -> "Tensor":
    import torch
    from PIL import Image

    planes = [Image.fromarray(plane) for plane in x[0].contiguous().numpy()]
    small = [plane.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC) for plane in planes]
    return torch.from_numpy(np.stack([np.asarray(plane) for plane in small])[None]).clamp(0, 255)
