"""LPIPS beside the package `lpips`, and what it refuses."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.metrics.architectures.lpips import Lpips
from tests.metrics.random_weights import GOLDEN, lpips_weights, noise_image


def _files(folder: Path, network: str) -> tuple[Path, Path]:
    trunk, heads = lpips_weights(network)
    torch.save(trunk, folder / "trunk.pth")
    save_file(heads, folder / "heads.safetensors")
    return folder / "trunk.pth", folder / "heads.safetensors"


def _pixels(seed: int) -> Tensor:
    return torch.from_numpy(noise_image(64, 96, seed)).permute(2, 0, 1)[None] / 127.5 - 1


@pytest.mark.parametrize("network", ["vgg", "alex"])
def test_value_of_the_package(tmp_path: Path, network: str) -> None:
    distance = Lpips(network, *_files(tmp_path, network))  # type: ignore[arg-type]
    found = distance(_pixels(0), _pixels(1))
    assert found.shape == (1,)
    assert found.item() == pytest.approx(GOLDEN[f"lpips_{network}"], rel=1e-5)
    assert distance(_pixels(0), _pixels(0)).item() == 0


def test_gradient_of_an_image_without_features(tmp_path: Path) -> None:
    distance = Lpips("alex", *_files(tmp_path, "alex"))
    image = torch.zeros(1, 3, 64, 64, requires_grad=True)
    distance(image, torch.ones_like(image)).sum().backward()
    assert image.grad is not None and image.grad.isfinite().all()


def test_refusals(tmp_path: Path) -> None:
    trunk, heads = _files(tmp_path, "alex")
    with pytest.raises(UsageError, match="allowed vgg or alex"):
        Lpips("squeeze", trunk, heads)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"nowhere\.pth: no such file"):
        Lpips("alex", tmp_path / "nowhere.pth", heads)
    with pytest.raises(Diffusion4kError, match=r"no weights of vgg: 'features\.2\.weight'"):
        Lpips("vgg", trunk, heads)
    with pytest.raises(Diffusion4kError, match=r"trunk\.pth: no LPIPS heads of alex"):
        Lpips("alex", trunk, trunk)
    with pytest.raises(UsageError, match="pip install --no-deps lpips"):
        Lpips("alex", trunk)
    (tmp_path / "bad.pth").write_bytes(b"nonsense")
    with pytest.raises(Diffusion4kError, match=r"bad\.pth: cannot be read as weights"):
        Lpips("alex", tmp_path / "bad.pth", heads)
    with pytest.raises(UsageError, match="must be"):
        Lpips("alex", trunk, heads)(_pixels(0), _pixels(0)[..., :32])
