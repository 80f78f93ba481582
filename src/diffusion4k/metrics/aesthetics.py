"""LAION's aesthetic score of a picture, about 1 to 10.

    score = MLP(e / |e|)     e: the image embedding of CLIP ViT-L/14; the MLP has no activations

The protocol of Diffusion-4K: the predictor `sac+logos+ava1-l14-linearMSE.pth` on
openai/clip-vit-large-patch14, embeddings of length one; mean over the pictures. CLIP sees a 4K
picture at 224 pixels: detail does not count.

Source: christophschuhmann/improved-aesthetic-predictor; Schuhmann et al., LAION-5B, arXiv
2210.08402. The layers are 768, 1024, 128, 64, 16 and 1 wide; dropout between them is for training.
"""

import itertools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from diffusion4k.config.types import Section, Text
from diffusion4k.errors import Diffusion4kError
from diffusion4k.metrics.clip import Clip
from diffusion4k.metrics.measure import Column, Found, Mean, Measure, MeasureSetup
from diffusion4k.metrics.picture import MeasuredImage
from diffusion4k.metrics.weights import find_weights, fingerprint, read_weights

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["AestheticMeasure", "AestheticPredictor"]


class AestheticPredictor:
    """The linear layers on top of CLIP's embeddings.

    Args:
        weights: the predictor's file, or `OWNER/NAME/FILE` on the hub.
        clip: the model whose embeddings it is given.

    Raises:
        UsageError: no such file.
        Diffusion4kError: it cannot be read, is another network, or made for another CLIP.
    """

    def __init__(self, weights: str | Path, clip: Clip) -> None:
        path = find_weights(weights)
        self._layers = _linear_layers(read_weights(path))
        if not self._layers:
            raise Diffusion4kError(
                f"{path}: no linear layers `layers.N.weight` and `.bias` in it that lead to one "
                "number: give sac+logos+ava1-l14-linearMSE.pth"
            )
        width = self._layers[0][0].shape[1]
        if width != clip.width:
            raise Diffusion4kError(
                f"{path}: made for embeddings of {width} numbers, {clip.name} gives {clip.width}: "
                "use ViT-L/14"
            )

    def __call__(self, embedding: "Tensor") -> float:
        """The score of one embedding `(D,)` of length one."""
        for weight, bias in self._layers:
            embedding = weight @ embedding + bias
        return float(embedding[0])

    def fingerprint(self) -> str:
        """Changes with the weights."""
        numbered = enumerate(itertools.chain(*self._layers))
        return fingerprint({str(number): value for number, value in numbered})


class AestheticSection(Section):
    """Weights of the aesthetic score."""

    aesthetics_clip: Text | None = None
    """openai/clip-vit-large-patch14."""
    aesthetics_mlp: Text | None = None
    """sac+logos+ava1-l14-linearMSE.pth."""


class AestheticMeasure(Measure):
    """LAION's score of each picture."""

    name = "aesthetics"
    columns: tuple[Column, ...] = (Mean("aesthetics", "Aesthetics", "higher", 2),)
    position = 170
    section = AestheticSection

    def __init__(self, clip: Clip, predictor: AestheticPredictor) -> None:
        self._clip, self._predictor = clip, predictor
        weights = f"{clip.fingerprint()} and {predictor.fingerprint()}"
        self.protocol = f"LAION aesthetics, unit embeddings, weights {weights}"

    @classmethod
    def make(cls, setup: MeasureSetup) -> "AestheticMeasure":
        """By the model and the layers that `aesthetics_clip` and `aesthetics_mlp` name."""
        layers, name = setup.weights("aesthetics_mlp"), setup.weights("aesthetics_clip")
        model = setup.once(Clip, name, setup.device, texts=False)
        return cls(model, AestheticPredictor(layers, model))

    def __call__(self, picture: MeasuredImage) -> Found:
        return Found({"aesthetics": self._predictor(self._clip.embed(picture.pil))})


def _linear_layers(weights: "Mapping[str, Tensor]") -> "list[tuple[Tensor, Tensor]]":
    """Weight and bias of each layer in order; none if they are no chain down to one number."""
    layers: dict[int, dict[str, Tensor]] = {}
    for key, value in weights.items():
        number = re.fullmatch(r"(?:layers\.)?(\d+)\.(weight|bias)", key)
        if number:
            layers.setdefault(int(number[1]), {})[number[2]] = value.float()
    ordered = [layers[number] for number in sorted(layers)]
    if any(len(layer) < 2 or layer["weight"].ndim != 2 for layer in ordered):
        return []
    found = [(layer["weight"], layer["bias"]) for layer in ordered]
    fits = all(bias.shape == weight.shape[:1] for weight, bias in found)
    widths = [weight.shape[0] for weight, _ in found[:-1]]
    chained = widths == [weight.shape[1] for weight, _ in found[1:]]
    return found if found and fits and chained and found[-1][0].shape[0] == 1 else []
