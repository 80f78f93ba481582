"""What is measured of a reconstruction, and kept beside it so that it is measured once."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from diffusion4k.data.images import open_pixels
from diffusion4k.metrics.architectures.inception import InceptionV3
from diffusion4k.metrics.architectures.lpips import Lpips, LpipsNetwork
from diffusion4k.metrics.architectures.perceptual import EffNetDistance
from diffusion4k.metrics.features import EfficientNetLite0
from diffusion4k.metrics.fidelity import nmse, psnr
from diffusion4k.metrics.pairs import tiled
from diffusion4k.metrics.ssim import ssim
from diffusion4k.metrics.weights import find_weights
from diffusion4k.support.files import atomic_path, sha256_of
from diffusion4k.support.text_files import json_of

__all__ = ["Judges", "Weights", "features_of", "numbers_of"]

_PATCHES = 64
_PATCH = 224


@dataclass(frozen=True)
class Weights:
    """Files (or `OWNER/NAME/FILE` on the hub) of the networks that no package brings.

    `inception` gives rFID, `lpips` (torchvision's VGG16 or AlexNet) gives LPIPS; its heads are by
    default those of the installed package `lpips`.
    """

    inception: str | None = None
    lpips: str | None = None
    lpips_network: LpipsNetwork = "alex"
    lpips_heads: str | None = None

    @property
    def fingerprint(self) -> str:
        """Changes with the weights: two sets of measurements are of the same networks."""
        files = [name for name in (self.inception, self.lpips, self.lpips_heads) if name]
        return "".join([*(sha256_of(find_weights(name)) for name in files), self.lpips_network])


class Judges:
    """The networks that look at images.

    Raises:
        UsageError: weights that are not there.
        Diffusion4kError: weights that cannot be read, or of another network.
    """

    def __init__(self, weights: Weights) -> None:
        self.extractor = EfficientNetLite0()
        self.inception = InceptionV3(weights.inception) if weights.inception else None
        self.distances: dict[str, nn.Module] = {"effnet_pd": EffNetDistance()}
        if weights.lpips:
            self.distances["lpips"] = Lpips(
                weights.lpips_network, weights.lpips, weights.lpips_heads
            )

    def measure(
        self,
        path: Path,
        image: NDArray[np.uint8] | Path,
        original: NDArray[np.uint8] | None = None,
    ) -> None:
        """Write numbers (if there is an original) and features of `(H, W, 3)` to `path`, once."""
        if _is_whole(path):
            return
        from safetensors.numpy import save_file

        pixels = image if isinstance(image, np.ndarray) else open_pixels(image)
        patch = min(_PATCH, min(pixels.shape[:2]))
        features = {
            "effnet": self.extractor([pixels]),
            "effnet_patches": self.extractor.patches(pixels, patch, _PATCHES),
        }
        if self.inception:
            features["inception"] = self.inception([pixels])
        numbers = {} if original is None else self._numbers(pixels, original)
        with atomic_path(path) as temporary:
            save_file(features, temporary, metadata={"numbers": json.dumps(numbers)})

    def _numbers(self, image: NDArray[np.uint8], original: NDArray[np.uint8]) -> dict[str, float]:
        numbers = {
            "psnr": psnr(image, original),
            "ssim": ssim(image, original),
            "nmse": nmse(image, original),
        }
        for name, network in self.distances.items():
            numbers[name] = tiled(network, image, original)
        return numbers


def numbers_of(path: Path) -> dict[str, float]:
    """The numbers in a file of `Judges.measure`."""
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        return json_of(file.metadata()["numbers"])


def features_of(paths: Sequence[Path], name: str) -> NDArray[np.float32]:
    """Features `(N, D)` of several files of `Judges.measure`, one under the other."""
    from safetensors import safe_open

    found = []
    for path in paths:
        with safe_open(path, framework="numpy") as file:
            found.append(file.get_tensor(name))
    return np.concatenate(found)


def _is_whole(path: Path) -> bool:
    from safetensors import SafetensorError

    try:
        numbers_of(path)
    except (FileNotFoundError, SafetensorError, KeyError, TypeError, ValueError):
        return False
    return True
