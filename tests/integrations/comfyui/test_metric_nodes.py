"""What the nodes measure is what `diffusion4k evaluate` measures of the saved images."""

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.metrics import compression_ratio, glcm_score, token_grid_ratio


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    """Two of 192x160 pixels: one with detail, one with a grid of 32 pixels."""
    torch.manual_seed(0)
    images = torch.rand(2, 192, 160, 3) * 0.6
    images[1] = images[1, ::32, ::32].repeat_interleave(32, 0).repeat_interleave(32, 1)
    return images + torch.rand(2, 192, 160, 1) * 0.1


@pytest.fixture(scope="module")
def saved(images: torch.Tensor, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The images as PNG files, fractions of a grey value cut off as ComfyUI does."""
    folder = tmp_path_factory.mktemp("saved")
    paths = []
    for i, image in enumerate(images.double().numpy()):
        paths.append(folder / f"{i}.png")
        Image.fromarray(np.floor(np.float32(255) * image.astype(np.float32)).astype(np.uint8)).save(
            paths[-1]
        )
    return paths


def run(nodes: ModuleType, name: str, images: torch.Tensor, **options) -> float:
    made = nodes.NODE_CLASS_MAPPINGS[f"Diffusion4K{name}"]().run(images, **options)
    (value,) = made["result"]
    assert made["ui"] == {"text": (f"{value:.4f}",)}
    return value


def test_glcm_score(nodes: ModuleType, images: torch.Tensor, saved: list[Path]) -> None:
    expected = [glcm_score(path) for path in saved]
    assert run(nodes, "GlcmScore", images) == pytest.approx(np.mean(expected), rel=1e-12)
    assert run(nodes, "GlcmScore", images[1:]) == pytest.approx(expected[1], rel=1e-12)


def test_compression_ratio(nodes: ModuleType, images: torch.Tensor, saved: list[Path]) -> None:
    expected = compression_ratio(saved, reencode=True)
    assert run(nodes, "CompressionRatio", images) == expected


def test_token_grid_ratio(nodes: ModuleType, images: torch.Tensor, saved: list[Path]) -> None:
    expected = [token_grid_ratio(path, 32) for path in saved]
    assert run(nodes, "TokenGridRatio", images, period=32) == pytest.approx(np.mean(expected))
    assert expected[1] > 2 > 1.1 > expected[0]


def test_transparency_is_left_out(nodes: ModuleType, images: torch.Tensor) -> None:
    with_alpha = torch.cat([images, torch.rand(2, 192, 160, 1)], -1)
    assert run(nodes, "GlcmScore", with_alpha) == run(nodes, "GlcmScore", images)


def test_bad_input_is_one_line(nodes: ModuleType) -> None:
    with pytest.raises(Diffusion4kError, match="too small for the GLCM metrics"):
        run(nodes, "GlcmScore", torch.rand(1, 32, 32, 3))
    with pytest.raises(UsageError, match="grid period 8"):
        run(nodes, "TokenGridRatio", torch.rand(1, 64, 64, 3), period=8)
