"""The recipe of scale-consistent training (arXiv 2506.01331).

The loss's terms and weights are the paper's by default; what else its scripts do is in
`recipes/paper/vae-sc.yaml`.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from diffusion4k.config.read import read_config
from diffusion4k.config.types import (
    Count,
    NonNegative,
    Pixels,
    Positive,
    Section,
    Seed,
    Text,
    named,
    square,
)
from diffusion4k.training.recipe.recipe import OptimizerRecipe, RunRecipe

__all__ = [
    "AdversarialRecipe",
    "AutoencoderRecipe",
    "AutoencoderValidationRecipe",
    "EffNetRecipe",
    "LossRecipe",
    "LpipsRecipe",
    "load_autoencoder_recipe",
]


class AutoencoderOptimizerRecipe(OptimizerRecipe):
    """AdamW, for the student and for the discriminator."""

    learning_rate: Positive = 1e-5


class LossRecipe(Section):
    """Weights of the loss's terms; a term of weight 0 is not computed."""

    mse: NonNegative = 1.0
    perceptual: NonNegative = 0.1
    adversarial: NonNegative = 0.05
    scale_consistency: NonNegative = 1.0
    wavelet: NonNegative = 0.0


class EffNetRecipe(Section):
    """EffNet-PD, whose weights come with the installation."""

    name: Literal["effnet-pd"] = "effnet-pd"


class LpipsRecipe(Section):
    """LPIPS; `weights` is torchvision's file of VGG16 or AlexNet, `heads` by default `lpips`'s."""

    name: Literal["lpips"] = "lpips"
    network: Literal["vgg", "alex"] = "vgg"
    weights: str
    heads: str | None = None


class AdversarialRecipe(Section):
    """The discriminator, which sets in (and begins to learn) after `start` steps.

    Its gradients are made as long as those of `balance`: of all that is learned from, or of the
    perceptual distance alone, without its weight, as the paper's script has it. One that sees
    `pixels` is held by spectral normalisation, one that sees `sub-bands` by the gradient penalty.
    """

    balance: Literal["all", "perceptual"] = "all"
    start: Annotated[int, Field(strict=True, ge=0)] = 0
    sees: Literal["pixels", "sub-bands"] = "pixels"
    channels: Count = 64
    layers: Count = 3
    gradient_penalty: NonNegative = 0.0
    learning_rate: Positive | None = None
    """Null: the autoencoder's."""


class AutoencoderValidationRecipe(Section):
    """Every so many steps (null: never): quality on fixed crops of `data` (null: the run's)."""

    every: Count | None = 500
    samples: Count = 8
    data: Text | None = None
    seed: Seed = 0


class AutoencoderRecipe(RunRecipe):
    """Training of an F=16 student of an F=8 autoencoder."""

    start: Text = "average"
    """`average` or `stride`: see `vae.scale_consistent`; `partitioned`: all layers are the F=8
    autoencoder's, as `vae.partitioned` has them; or the folder of an earlier student."""
    freeze_encoder: bool = False
    resolution: Pixels | None = None
    crop: Annotated[tuple[Pixels, Pixels], BeforeValidator(square)] = (512, 512)
    workers: Count = 4
    posterior: Literal["sample", "mean"] = "sample"
    loss: LossRecipe = LossRecipe()
    perceptual: Annotated[
        EffNetRecipe | LpipsRecipe, Field(discriminator="name"), named("name", "effnet-pd")
    ] = EffNetRecipe()
    adversarial: AdversarialRecipe = AdversarialRecipe()
    wavelet: Text = "haar"
    optimizer: AutoencoderOptimizerRecipe = AutoencoderOptimizerRecipe()
    validation: AutoencoderValidationRecipe = AutoencoderValidationRecipe()

    @model_validator(mode="after")
    def _makes_sense(self) -> "AutoencoderRecipe":
        if self.resolution and min(self.crop) > self.resolution:
            raise PydanticCustomError(
                "crop",
                "crop: found {crop}, allowed at most resolution={resolution} on the shorter side",
                {"crop": "x".join(map(str, self.crop)), "resolution": self.resolution},
            )
        smallest = min_side(self.adversarial.layers)
        if self.loss.adversarial and min(self.crop) < smallest:
            raise PydanticCustomError(
                "layers",
                "adversarial.layers: found {layers}, which takes crops from {smallest} pixels on",
                {"layers": self.adversarial.layers, "smallest": smallest},
            )
        if self.adversarial.balance == "perceptual" and not self.loss.perceptual:
            raise PydanticCustomError(
                "balance",
                "adversarial.balance: found perceptual with loss.perceptual=0, allowed all",
            )
        if not (self.loss.mse or self.loss.perceptual or self.loss.wavelet):
            # Adversarial and scale-consistent losses alone say nothing of the image itself.
            raise PydanticCustomError(
                "weights", "loss: found no weight above 0 among mse, perceptual and wavelet"
            )
        return self


def min_side(layers: int) -> int:
    """Least pixels a side from which discriminators of so many layers make a value."""
    return 3 * 2**layers


def load_autoencoder_recipe(
    path: str | Path, overrides: list[str] | None = None
) -> AutoencoderRecipe:
    """Read and check a recipe; `overrides` are strings `key.key=value`.

    Raises:
        UsageError: one line that names every problem found.
    """
    return read_config(path, overrides, AutoencoderRecipe)
