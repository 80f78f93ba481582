"""Inception-v3 as FID has it: TensorFlow's network of 2015, not torchvision's of the same name.

It differs from torchvision's in average pooling that leaves padding out, in a maximum in place of
the average in the last block, and in TensorFlow 1's way to resize (bilinear, no antialiasing, pixel
corners instead of centres). Only distances of these features are called FID.

Sources: Szegedy et al., arXiv 1512.00567; Heusel et al., arXiv 1706.08500. Weights: the file
`pt_inception-2015-12-05-6726825d.pth` of pytorch-fid, or torch-fidelity's
`weights-inception-2015-12-05-6726825d.pth`, which torchmetrics uses as well; both hold TensorFlow's
numbers.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from diffusion4k.errors import Diffusion4kError
from diffusion4k.metrics.images import ImageLike, as_array, as_pil, patch_boxes
from diffusion4k.metrics.weights import find_weights, fingerprint, one_line, read_weights

__all__ = ["InceptionV3", "resize_like_tensorflow"]

_SIDE = 299
_LEAST = 75
_EPSILON = 1e-3  # of batch normalisation
_UNPADDED = ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_4a_3x3")


class InceptionV3:
    """The 2048 pooled features whose Fréchet distance is FID, each from 0 on.

    Args:
        weights: a file, or `OWNER/NAME/FILE` on the hub; see the module's text.

    Raises:
        UsageError: no such file.
        Diffusion4kError: weights that cannot be read, or of another network.
    """

    name = "Inception-v3 (FID)"
    dimension = 2048
    preprocessing = (
        "RGB upright in sRGB; the whole image resized to 299x299 as TensorFlow 1 does (bilinear, "
        "no antialiasing); (value - 128) / 128"
    )

    def __init__(self, weights: str | Path, device: str = "cpu") -> None:
        path = find_weights(weights)
        try:
            self._layers = _folded(read_weights(path), device)
            # A picture of the least size goes through every layer: one that lacks or does not fit
            # is found now.
            with torch.inference_mode():
                found = self._network(torch.zeros(1, 3, _LEAST, _LEAST, device=device)).shape[1]
            if found != self.dimension:
                raise ValueError(f"{found} features")
        except (KeyError, ValueError, RuntimeError) as error:
            raise Diffusion4kError(
                f"{path}: no weights of FID's Inception-v3: {one_line(error)}"
            ) from None
        self._device = device

    def fingerprint(self) -> str:
        """Changes with the weights."""
        parts = ("kernel", "bias")
        return fingerprint(
            {
                f"{name}.{part}": value
                for name, layer in self._layers.items()
                for part, value in zip(parts, layer, strict=True)
            }
        )

    def __call__(self, images: Iterable[ImageLike]) -> NDArray[np.float32]:
        """Features `(N, 2048)` of N images, sizes as they come."""
        found = [self._features(as_array(image)) for image in images]
        return np.concatenate(found) if found else np.empty((0, self.dimension), np.float32)

    def patches(
        self, image: ImageLike, patch_size: int = _SIDE, per_image: int | None = None
    ) -> NDArray[np.float32]:
        """Features `(N, 2048)` of the image's patches; see `features.patch_boxes`."""
        picture = as_pil(image)
        boxes = patch_boxes(picture.width, picture.height, patch_size, per_image)
        return self([picture.crop(box) for box in boxes])

    @torch.inference_mode()
    def features_at_299(self, pixels: Tensor) -> NDArray[np.float32]:
        """Features `(B, 2048)` of `(B, 3, 299, 299)` with values 0 to 255, resized elsewhere."""
        x = (pixels.to(self._device) - 128) / 128
        pooled: NDArray[np.float32] = self._network(x).mean((2, 3)).cpu().numpy()
        return pooled

    @torch.inference_mode()
    def _features(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        pixels = torch.from_numpy(image.copy()).to(self._device).permute(2, 0, 1)[None].float()
        return self.features_at_299(resize_like_tensorflow(pixels, _SIDE))

    def _network(self, x: Tensor) -> Tensor:
        """`(B, 3, 299, 299)` to `(B, 2048, 8, 8)`."""
        x = self._chain(x, "Conv2d_1a_3x3/2", "Conv2d_2a_3x3", "Conv2d_2b_3x3")
        x = self._chain(F.max_pool2d(x, 3, 2), "Conv2d_3b_1x1", "Conv2d_4a_3x3")
        x = F.max_pool2d(x, 3, 2)
        for block in ("Mixed_5b", "Mixed_5c", "Mixed_5d"):
            x = self._block(
                x,
                block,
                ["branch1x1"],
                ["branch5x5_1", "branch5x5_2"],
                ["branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"],
            )
        x = self._reduction(
            x, "Mixed_6a", ["branch3x3/2"], ["branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3/2"]
        )
        for block in ("Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"):
            x = self._block(
                x,
                block,
                ["branch1x1"],
                ["branch7x7_1", "branch7x7_2", "branch7x7_3"],
                [f"branch7x7dbl_{n}" for n in (1, 2, 3, 4, 5)],
            )
        x = self._reduction(
            x,
            "Mixed_7a",
            ["branch3x3_1", "branch3x3_2/2"],
            ["branch7x7x3_1", "branch7x7x3_2", "branch7x7x3_3", "branch7x7x3_4/2"],
        )
        x = self._last_block(x, "Mixed_7b", average=True)
        return self._last_block(x, "Mixed_7c", average=False)

    def _block(self, x: Tensor, block: str, *branches: list[str]) -> Tensor:
        found = [self._chain(x, *branch, block=block) for branch in branches]
        return torch.cat([*found, self._pooled(x, block)], 1)

    def _reduction(self, x: Tensor, block: str, *branches: list[str]) -> Tensor:
        found = [self._chain(x, *branch, block=block) for branch in branches]
        return torch.cat([*found, F.max_pool2d(x, 3, 2)], 1)

    def _last_block(self, x: Tensor, block: str, *, average: bool) -> Tensor:
        square = self._chain(x, "branch3x3_1", block=block)
        double = self._chain(x, "branch3x3dbl_1", "branch3x3dbl_2", block=block)
        found = [
            self._chain(x, "branch1x1", block=block),
            self._chain(square, "branch3x3_2a", block=block),
            self._chain(square, "branch3x3_2b", block=block),
            self._chain(double, "branch3x3dbl_3a", block=block),
            self._chain(double, "branch3x3dbl_3b", block=block),
            self._pooled(x, block, average=average),
        ]
        return torch.cat(found, 1)

    def _pooled(self, x: Tensor, block: str, *, average: bool = True) -> Tensor:
        if average:
            x = F.avg_pool2d(x, 3, 1, padding=1, count_include_pad=False)
        else:
            x = F.max_pool2d(x, 3, 1, padding=1)
        return self._chain(x, "branch_pool", block=block)

    def _chain(self, x: Tensor, *names: str, block: str = "") -> Tensor:
        """Convolutions one after another; `/2` behind a name: stride 2 and no padding."""
        for name in names:
            name, _, stride = name.partition("/")
            weight, bias = self._layers[f"{block}.{name}" if block else name]
            unpadded = bool(stride) or name in _UNPADDED
            height, width = weight.shape[2:]
            padding = (0, 0) if unpadded else (height // 2, width // 2)
            x = F.relu(F.conv2d(x, weight, bias, 2 if stride else 1, padding), inplace=True)
        return x


def _folded(weights: Mapping[str, Tensor], device: str) -> dict[str, tuple[Tensor, Tensor]]:
    """Kernel and bias of each convolution with its batch normalisation in it, by name."""
    layers = {}
    for name in weights:
        if not name.endswith(".conv.weight"):
            continue
        layer = name.removesuffix(".conv.weight")
        gain, shift, mean, variance = (
            weights[f"{layer}.bn.{part}"].double()
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        gain = gain / (variance + _EPSILON).sqrt()
        kernel = weights[name].double() * gain.view(-1, 1, 1, 1)
        layers[layer] = (kernel.float().to(device), (shift - mean * gain).float().to(device))
    return layers


def resize_like_tensorflow(images: Tensor, side: int) -> Tensor:
    """`(B, C, H, W)` to `(B, C, side, side)`: output n reads at n * size / side (TensorFlow 1).

    Bilinear, so that a large image is sampled sparsely and aliases.
    """
    for axis in (3, 2):
        size = images.shape[axis]
        place = torch.arange(side, device=images.device, dtype=torch.float32) * (size / side)
        low = place.long().clamp_max(size - 1)
        high = (low + 1).clamp_max(size - 1)
        share = place - low
        if axis == 2:
            share = share[:, None]
        lower, upper = images.index_select(axis, low), images.index_select(axis, high)
        images = lower + (upper - lower) * share
    return images
