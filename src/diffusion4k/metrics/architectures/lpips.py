"""LPIPS, version 0.1: Learned Perceptual Image Patch Similarity (Zhang et al., arXiv 1801.03924).

Of both images the features of five layers of an ImageNet network are scaled to unit length over the
channels at every pixel; squared differences are weighed by channel (the learned heads), summed,
averaged over pixels and added up over the layers (eq. 1).

Neither torchvision nor the package `lpips` is imported: the network's weights are torchvision's
file (`vgg16-397923af.pth`, `alexnet-owt-7be5be79.pth`), the heads a file that `pip install
--no-deps lpips` brings.
"""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.metrics.images import check_batches
from diffusion4k.metrics.measure import MetricUnavailable
from diffusion4k.metrics.weights import find_weights, read_weights

__all__ = ["Lpips", "LpipsNetwork"]

LpipsNetwork = Literal["vgg", "alex"]

# Numbers of the convolutions in torchvision's `features`, stage by stage; pooling lies between.
_STAGES = {
    "vgg": ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28)),
    "alex": ((0,), (3,), (6,), (8,), (10,)),
}
_POOLED_BEFORE = {"vgg": (5, 10, 17, 24), "alex": (3, 6)}
_POOL = {"vgg": 2, "alex": 3}
# Mean and standard deviation of ImageNet's pixels, for images in [-1, 1].
_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)
_EPSILON = 1e-10


class Lpips(nn.Module):
    """Distances `(B,)` from 0 on of two batches of images `(B, 3, H, W)` in [-1, 1].

    Args:
        network: `vgg` (as a training loss) or `alex` (the authors' choice for measuring).
        weights: torchvision's weights of that network, a file or `OWNER/NAME/FILE` on the hub.
        heads: the learned heads, a file; by default that of the installed package `lpips`.

    Raises:
        MetricUnavailable: no package with the heads.
        UsageError: no such network or file.
        Diffusion4kError: weights that cannot be read, or of another network.
    """

    def __init__(
        self, network: LpipsNetwork, weights: str | Path, heads: str | Path | None = None
    ) -> None:
        super().__init__()
        if network not in get_args(LpipsNetwork):
            raise UsageError(f"LPIPS network: found {network!r}, allowed vgg or alex")
        self.name = f"LPIPS ({network})"
        self._stages, self._pooled = _STAGES[network], _POOLED_BEFORE[network]
        self._pool = _POOL[network]
        trunk_path = find_weights(weights)
        trunk = read_weights(trunk_path)
        numbers = [number for stage in self._stages for number in stage]
        try:
            convolutions = {str(n): _convolution(trunk, n, network) for n in numbers}
        except KeyError as error:
            raise Diffusion4kError(f"{trunk_path}: no weights of {network}: {error}") from None
        self.convolutions = nn.ModuleDict(convolutions)
        head_path = _installed_heads(network) if heads is None else find_weights(heads)
        learned = read_weights(head_path)
        for index, stage in enumerate(self._stages):
            head = learned.get(f"lin{index}.model.1.weight")
            channels = convolutions[str(stage[-1])].out_channels
            if head is None or head.numel() != channels:
                raise Diffusion4kError(f"{head_path}: no LPIPS heads of {network}")
            self.register_buffer(f"head{index}", head.view(-1, 1, 1))
        self.register_buffer("shift", torch.tensor(_SHIFT).view(3, 1, 1))
        self.register_buffer("scale", torch.tensor(_SCALE).view(3, 1, 1))
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor, references: Tensor) -> Tensor:
        check_batches(images, references)
        distance = images.new_zeros(len(images))
        pairs = zip(self._features(images), self._features(references), strict=True)
        for index, (a, b) in enumerate(pairs):
            weighed = (a - b).square() * self.get_buffer(f"head{index}")
            distance = distance + weighed.sum(1).mean((1, 2))
        return distance

    def _features(self, images: Tensor) -> list[Tensor]:
        """Unit vectors over the channels after each stage."""
        x = (images - self.get_buffer("shift")) / self.get_buffer("scale")
        found = []
        for stage in self._stages:
            for number in stage:
                if number in self._pooled:
                    x = F.max_pool2d(x, self._pool, 2)
                x = F.relu(self.convolutions[str(number)](x))
            # The constant under the root keeps the gradient finite where all features are zero.
            length = (x.square().sum(1, keepdim=True) + _EPSILON).sqrt()
            found.append(x / (length + _EPSILON))
        return found


def _convolution(weights: Mapping[str, Tensor], number: int, network: str) -> nn.Conv2d:
    weight, bias = weights[f"features.{number}.weight"], weights[f"features.{number}.bias"]
    out_channels, in_channels, side, _ = weight.shape
    # AlexNet's first convolution is the only one with a stride, and a padding short of half.
    first_of_alex = network == "alex" and number == 0
    stride, padding = (4, 2) if first_of_alex else (1, side // 2)
    convolution = nn.Conv2d(in_channels, out_channels, side, stride, padding)
    convolution.load_state_dict({"weight": weight, "bias": bias})
    return convolution


def _installed_heads(network: str) -> Path:
    # Found and not imported: the package itself imports torchvision.
    found = importlib.util.find_spec("lpips")
    if found is None or found.origin is None:
        raise MetricUnavailable(
            "LPIPS: its heads are missing: `pip install --no-deps lpips`, or give their file"
        )
    return Path(found.origin).parent / "weights" / "v0.1" / f"{network}.pth"
