"""Random weights that depend on name and shape alone, so that two programs can have the same."""

import json
import zlib
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["GOLDEN", "inception_weights", "lpips_weights", "noise_image"]

GOLDEN = json.loads(Path(__file__).with_name("golden.json").read_text())
"""Shapes of the networks, and values that the packages lpips 0.1.4, torch-fidelity 0.4.0 and
torchmetrics 1.9.0 gave for these weights and images; and SHA-256 of the pixels that torchvision
0.29.1's `resize` and `center_crop` gave of `noise_image(height, width, 5)`. Made once, as all need
torchvision."""


def noise_image(height: int, width: int, seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def lpips_weights(network: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Of the network and of the heads."""
    shapes = GOLDEN[f"lpips_{network}_shapes"]
    trunk = {name: _value(name, shape) for name, shape in shapes.items()}
    channels = {"vgg": (64, 128, 256, 512, 512), "alex": (64, 192, 384, 256, 256)}[network]
    names = [f"lin{index}.model.1.weight" for index in range(5)]
    shaped = zip(names, channels, strict=True)
    return trunk, {name: _value(name, [1, count, 1, 1]).abs() for name, count in shaped}


def inception_weights() -> dict[str, Tensor]:
    weights = {}
    for layer, shape in GOLDEN["inception_shapes"].items():
        name = f"{layer}.conv.weight"
        weights[name] = _value(name, shape)
        for part in ("weight", "bias", "running_mean", "running_var"):
            name = f"{layer}.bn.{part}"
            weights[name] = _value(name, shape[:1])
    return weights


def _value(name: str, shape: list[int]) -> Tensor:
    x = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape)
    if name.endswith("running_var"):
        x = 0.5 + np.abs(x)
    elif name.endswith("bn.weight"):
        x = 1 + 0.1 * x
    elif "weight" in name and len(shape) == 4:
        x = x * (2 / np.prod(shape[1:])) ** 0.5
    else:
        x = 0.1 * x
    return torch.from_numpy(x.astype(np.float32))
