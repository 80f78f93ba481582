"""The perceptual distance of a recipe."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from diffusion4k.errors import UsageError
from diffusion4k.metrics.architectures.lpips import Lpips
from diffusion4k.metrics.architectures.perceptual import EffNetDistance
from diffusion4k.training.autoencoder.loop import train_autoencoder
from diffusion4k.training.autoencoder.prepare import build_perceptual
from diffusion4k.training.autoencoder.recipe import AutoencoderRecipe
from diffusion4k.training.watch.curve import Curve
from tests.metrics.random_weights import lpips_weights

Make = Callable[..., AutoencoderRecipe]


def test_effnet_by_default_and_nothing_at_weight_zero(recipe: Make) -> None:
    made = build_perceptual(recipe())
    assert isinstance(made, EffNetDistance) and not made.training
    assert not any(parameter.requires_grad for parameter in made.parameters())
    assert build_perceptual(recipe(loss={"perceptual": 0})) is None


@pytest.fixture
def lpips(tmp_path: Path) -> dict[str, str]:
    trunk, heads = lpips_weights("alex")
    torch.save(trunk, tmp_path / "alex.pth")
    save_file(heads, tmp_path / "heads.safetensors")
    return {
        "name": "lpips",
        "network": "alex",
        "weights": str(tmp_path / "alex.pth"),
        "heads": str(tmp_path / "heads.safetensors"),
    }


def test_lpips_trains(recipe: Make, lpips: dict[str, str]) -> None:
    wanted = recipe(perceptual=lpips, steps=2, crop=64)
    assert isinstance(build_perceptual(wanted), Lpips)
    found = train_autoencoder(wanted)
    assert all(float(row["perceptual"]) > 0 for row in Curve.read(found.parent / "loss.csv"))


def test_lpips_without_weights(recipe: Make, lpips: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=r"nowhere\.pth: no such file"):
        build_perceptual(recipe(perceptual=lpips | {"weights": "nowhere.pth"}))
