"""Haar transform with its gradient: this package against a strided convolution and PyWavelets.

    python benchmarks/wavelet.py

On latents of four 4096x4096 images at F=16. PyWavelets has no gradient: it is compared with the
transform alone.
"""

import common
import pywt
import torch
import torch.nn.functional as F
from torch import Tensor

from diffusion4k.wavelet import dwt2

SHAPE = (4, 16, 256, 256)
REPEATS = 15
SIGNS = torch.tensor([[[1, 1], [1, 1]], [[1, 1], [-1, -1]], [[1, -1], [1, -1]], [[1, -1], [-1, 1]]])


def by_convolution(x: Tensor) -> Tensor:
    """The same sub-bands, interleaved by channel, from one grouped convolution of stride 2."""
    kernel = (SIGNS / 2).unsqueeze(1).repeat(x.shape[1], 1, 1, 1)
    return F.conv2d(x, kernel, stride=2, groups=x.shape[1])


def with_gradient(transform, x: Tensor) -> None:
    x = x.detach().requires_grad_()
    transform(x).square().mean().backward()


def main() -> None:
    """Time the pairs in turn, print the ratios, keep the result."""
    x = torch.randn(SHAPE)
    array = x.numpy()
    pairs = {
        "transform against convolution": (lambda: dwt2(x), lambda: by_convolution(x)),
        "with gradient against convolution": (
            lambda: with_gradient(dwt2, x),
            lambda: with_gradient(by_convolution, x),
        ),
        "transform against PyWavelets": (
            lambda: dwt2(x),
            lambda: pywt.dwt2(array, "haar", mode="periodization", axes=(-2, -1)),
        ),
    }
    results = {}
    for name, (ours, reference) in pairs.items():
        results[name] = common.compare(ours, reference, repeats=REPEATS)
        print(f"{name}: {results[name]}")
    common.save("wavelet", {"shape": SHAPE, **results})


if __name__ == "__main__":
    main()
