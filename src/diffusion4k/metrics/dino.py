"""FD-DINOv2: the Fréchet distance of DINOv2's features.

The features are the class token after the last normalisation (1024 numbers for ViT-L/14). The
whole picture is resized to 224x224 whatever its shape (Pillow, bicubic), as dgm-eval does by
default, with ImageNet's mean and deviation. DINOv2 saw no labels, and its distance follows people's
judgement of realism better than Inception's; at 224 pixels the detail of a 4K picture does not
count.

transformers enlarges the position embeddings a hair differently from Meta's own code (no offset of
0.1 in the scale): values differ slightly from dgm-eval's; compare within this package.

Source: Stein et al., arXiv 2306.04675; Oquab et al., DINOv2, arXiv 2304.07193. Weights:
facebook/dinov2-large in transformers' layout.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from diffusion4k.config.types import Section, Text
from diffusion4k.errors import Diffusion4kError
from diffusion4k.metrics.images import ImageLike, as_pil
from diffusion4k.metrics.measure import Column, Found, FrechetDistance, Measure, MeasureSetup
from diffusion4k.metrics.picture import MeasuredImage
from diffusion4k.metrics.weights import fingerprint, load_model

__all__ = ["DinoV2", "DinoV2Measure"]

_SIDE = 224
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


class DinoV2:
    """DINOv2's class token; may be used from several threads.

    Args:
        name: folder or hub id in transformers' layout, or that with `#sha256=...`.

    Raises:
        Diffusion4kError: it cannot be loaded.
    """

    def __init__(self, name: str, device: str = "cpu") -> None:
        from transformers import Dinov2Model

        self.name = name.partition("#")[0]
        self._model = load_model(Dinov2Model, name, "facebook/dinov2-large").to(device)
        self._device = device
        self.dimension = int(self._model.config.hidden_size)

    def __call__(self, images: Iterable[ImageLike]) -> NDArray[np.float32]:
        """Features `(N, D)` of N images."""
        found = [self._features(image) for image in images]
        return np.stack(found) if found else np.empty((0, self.dimension), np.float32)

    def fingerprint(self) -> str:
        """Changes with the weights."""
        return fingerprint(self._model.state_dict())

    def _features(self, image: ImageLike) -> NDArray[np.float32]:
        import torch
        from PIL import Image

        small = as_pil(image).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
        values = (np.asarray(small, np.float32) / 255 - _MEAN) / _STD
        pixels = torch.from_numpy(values.astype(np.float32)).permute(2, 0, 1)[None].contiguous()
        with torch.inference_mode():
            token = self._model(pixel_values=pixels.to(self._device)).pooler_output[0]
        features: NDArray[np.float32] = token.cpu().numpy()
        if not np.isfinite(features).all():
            raise Diffusion4kError(f"{self.name}: gives features that are not finite")
        return features


class DinoV2Section(Section):
    """Weights of FD-DINOv2."""

    dinov2: Text | None = None
    """facebook/dinov2-large."""


class DinoV2Measure(Measure):
    """DINOv2's features of each picture, for FD-DINOv2."""

    name = "fd_dinov2"
    columns: tuple[Column, ...] = (FrechetDistance("fd_dinov2", "FD-DINOv2", "lower", 1, "dinov2"),)
    position = 150
    section = DinoV2Section

    def __init__(self, network: DinoV2) -> None:
        self._network = network
        self.protocol = f"DINOv2, whole at {_SIDE}x{_SIDE}, weights {network.fingerprint()}"

    @classmethod
    def make(cls, setup: MeasureSetup) -> "DinoV2Measure":
        """By the model that `dinov2` names."""
        return cls(DinoV2(setup.weights("dinov2"), setup.device))

    def __call__(self, picture: MeasuredImage) -> Found:
        return Found(features={"dinov2": self._network([picture.pil])})
