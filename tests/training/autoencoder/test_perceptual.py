"""The perceptual distance of a recipe; `lpips` itself is not installed, so its shape stands in."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.metrics.perceptual import EffNetDistance
from diffusion4k.training.autoencoder.perceptual import build_perceptual
from diffusion4k.training.autoencoder.recipe import AutoencoderRecipe

Make = Callable[..., AutoencoderRecipe]


class _Network(nn.Module):
    """Slices of torchvision's `features`, under the numbers they have there."""

    def __init__(self) -> None:
        super().__init__()
        self.slice1, self.slice2 = nn.Sequential(), nn.Sequential()
        self.slice1.add_module("0", nn.Conv2d(3, 4, 3))
        self.slice2.add_module("5", nn.Conv2d(4, 4, 3))


class _Lpips(nn.Module):
    def __init__(self, net: str, pnet_rand: bool, verbose: bool) -> None:
        super().__init__()
        assert net == "vgg" and pnet_rand and not verbose
        self.net = _Network()

    def forward(self, images: Tensor, references: Tensor) -> Tensor:
        return (images - references).abs().mean((1, 2, 3), keepdim=True)


@pytest.fixture
def weights() -> dict[str, Tensor]:
    return {
        "features.0.weight": torch.randn(4, 3, 3, 3),
        "features.0.bias": torch.randn(4),
        "features.5.weight": torch.randn(4, 4, 3, 3),
        "features.5.bias": torch.randn(4),
        "classifier.0.weight": torch.randn(2, 2),
    }


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("lpips")
    module.LPIPS = _Lpips  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lpips", module)


def test_effnet_by_default_and_nothing_at_weight_zero(recipe: Make) -> None:
    made = build_perceptual(recipe())
    assert isinstance(made, EffNetDistance) and not made.training
    assert not any(parameter.requires_grad for parameter in made.parameters())
    assert build_perceptual(recipe(loss={"perceptual": 0})) is None


def test_lpips_without_its_package(
    recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "lpips", None)
    wanted = recipe(perceptual={"name": "lpips", "weights": str(tmp_path / "vgg.pth")})
    with pytest.raises(UsageError, match="pip install lpips"):
        build_perceptual(wanted)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_lpips_takes_torchvisions_weights(
    recipe: Make, tmp_path: Path, weights: dict[str, Tensor], installed: None, suffix: str
) -> None:
    path = tmp_path / f"vgg{suffix}"
    save_file(weights, path) if suffix == ".safetensors" else torch.save(weights, path)
    made = build_perceptual(recipe(perceptual={"name": "lpips", "weights": str(path)}))
    assert made is not None
    filled = made.net.state_dict()  # type: ignore[union-attr, operator]
    assert torch.equal(filled["slice1.0.bias"], weights["features.0.bias"])
    assert torch.equal(filled["slice2.5.weight"], weights["features.5.weight"])


def test_lpips_with_unusable_weights(
    recipe: Make, tmp_path: Path, weights: dict[str, Tensor], installed: None
) -> None:
    path = tmp_path / "vgg.safetensors"
    wanted = recipe(perceptual={"name": "lpips", "weights": str(path)})
    with pytest.raises(UsageError, match=r"vgg\.safetensors: no such file"):
        build_perceptual(wanted)
    path.write_bytes(b"nonsense")
    with pytest.raises(Diffusion4kError, match="cannot be read as weights"):
        build_perceptual(wanted)
    save_file({name: value for name, value in weights.items() if "5" not in name}, path)
    with pytest.raises(Diffusion4kError, match=r"weights of another network.*features\.5"):
        build_perceptual(wanted)
