"""Measures of a picture beside its original: PSNR, SSIM and LPIPS.

Both must have one size. LPIPS is a mean over pixels: of a large picture it is the mean over tiles
of about 1024x1024, weighed by their pixels, so that memory stays bounded; along the edges of the
tiles it sees less context than in one piece.
"""

import itertools
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from diffusion4k.config.types import Section, Text
from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.metrics.fidelity import psnr
from diffusion4k.metrics.images import as_array
from diffusion4k.metrics.measure import Column, Found, Mean, Measure, MeasureSetup
from diffusion4k.metrics.picture import MeasuredImage
from diffusion4k.metrics.ssim import ssim
from diffusion4k.metrics.weights import fingerprint, one_line

if TYPE_CHECKING:
    from torch import nn

    from diffusion4k.metrics.architectures.lpips import Lpips

__all__ = ["FidelityMeasure", "LpipsMeasure", "tiled"]

_TILE = 1024
_STRIDE = 32  # of the networks: a tile of whole strides needs no padding


def tiled(
    network: "nn.Module",
    image: NDArray[np.uint8],
    original: NDArray[np.uint8],
    device: str = "cpu",
) -> float:
    """Distance of two images `(H, W, 3)`: the mean over tiles, weighed by pixels."""
    import torch

    from diffusion4k.data.pixels import normalised

    rows, columns = (_slices(side) for side in image.shape[:2])
    total = 0.0
    with torch.inference_mode():
        for tile in itertools.product(rows, columns):
            pair = [normalised(whole[tile].copy()).to(device) for whole in (image, original)]
            total += float(network(*pair)) * image[tile].size
    return total / image.size


class FidelityMeasure(Measure):
    """PSNR in dB (infinite for a picture equal to its original) and SSIM."""

    name = "fidelity"
    protocol = "PSNR of RGB at 8 bits; SSIM of Wang et al., Gaussian window, mean over channels"
    columns: tuple[Column, ...] = (
        Mean("psnr", "PSNR", "higher", 2),
        Mean("ssim", "SSIM", "higher", 3),
    )
    needs_original = True
    position = 110

    def __call__(self, picture: MeasuredImage) -> Found:
        image, original = _pair(picture)
        return Found({"psnr": psnr(image, original), "ssim": ssim(image, original)})


class LpipsSection(Section):
    """Weights of LPIPS."""

    lpips: Text | None = None
    """alexnet-owt-7be5be79.pth; vgg16-397923af.pth with `lpips_network: vgg`."""
    lpips_network: Literal["vgg", "alex"] = "alex"
    lpips_heads: Text | None = None
    """LPIPS heads; by default those of the installed package lpips."""


class LpipsMeasure(Measure):
    """LPIPS of a picture and its original."""

    name = "lpips"
    columns: tuple[Column, ...] = (Mean("lpips", "LPIPS", "lower", 3),)
    needs_original = True
    position = 120
    section = LpipsSection

    def __init__(self, network: "Lpips", device: str = "cpu") -> None:
        self._network, self._device = network.to(device), device
        weights = fingerprint(network.state_dict())
        self.protocol = f"{network.name} v0.1, tiles of {_TILE}, weights {weights}"

    @classmethod
    def make(cls, setup: MeasureSetup) -> "LpipsMeasure":
        """By the network and the files that the keys in `lpips` name."""
        from diffusion4k.metrics.architectures.lpips import Lpips

        weights, section = setup.weights("lpips"), setup.section(LpipsSection)
        return cls(Lpips(section.lpips_network, weights, section.lpips_heads), setup.device)

    def __call__(self, picture: MeasuredImage) -> Found:
        image, original = _pair(picture)
        try:
            return Found({"lpips": tiled(self._network, image, original, self._device)})
        except RuntimeError as error:
            size = f"{image.shape[1]}x{image.shape[0]}"
            raise Diffusion4kError(
                f"{picture.path}: LPIPS failed at {size}: {one_line(error)}"
            ) from None


def _slices(side: int) -> list[slice]:
    """Parts of about one size, at most `_TILE` + 32: a network refuses a narrow remainder."""
    count = -(-side // _TILE)
    edges = [round(n * side / count / _STRIDE) * _STRIDE for n in range(count)] + [side]
    return [slice(*pair) for pair in itertools.pairwise(edges)]


def _pair(picture: MeasuredImage) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    if picture.original is None:
        raise Diffusion4kError(f"{picture.path}: has no original to compare with")
    image, original = picture.pixels, as_array(picture.original)
    if image.shape != original.shape:
        sizes = [f"{x.shape[1]}x{x.shape[0]}" for x in (image, original)]
        raise UsageError(
            f"{picture.path}: is {sizes[0]}, its original {picture.original} {sizes[1]}: "
            "they must be of one size"
        )
    return image, original
