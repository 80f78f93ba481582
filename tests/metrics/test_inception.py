"""FID's Inception-v3 beside torch-fidelity, and what it refuses."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.metrics.architectures.inception import InceptionV3, resize_like_tensorflow
from tests.metrics.random_weights import GOLDEN, inception_weights, noise_image


@pytest.fixture(scope="module")
def extractor(tmp_path_factory: pytest.TempPathFactory) -> InceptionV3:
    path = tmp_path_factory.mktemp("inception") / "weights.safetensors"
    save_file(inception_weights(), path)
    return InceptionV3(path)


@pytest.mark.parametrize(("height", "width"), [(299, 299), (200, 310)])
def test_features_of_torch_fidelity(extractor: InceptionV3, height: int, width: int) -> None:
    (features,) = extractor([noise_image(height, width, 2)])
    assert features.shape == (2048,)
    np.testing.assert_allclose(
        features[::128], GOLDEN[f"inception_{height}x{width}"], rtol=1e-4, atol=1e-5
    )


def test_patches_are_images_of_their_own(extractor: InceptionV3) -> None:
    image = noise_image(64, 128, 3)
    expected = extractor([image[:, :64], image[:, 64:]])
    np.testing.assert_array_equal(extractor.patches(image, 64), expected)


def test_resizing_by_a_whole_factor_takes_every_nth_pixel() -> None:
    images = torch.rand(1, 2, 12, 12)
    assert torch.equal(resize_like_tensorflow(images, 4), images[..., ::3, ::3])
    enlarged = resize_like_tensorflow(images, 24)
    aligned = F.interpolate(images, 23, mode="bilinear", align_corners=True)
    torch.testing.assert_close(enlarged[..., :23, :23], aligned)


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        InceptionV3(tmp_path / "nowhere.pth")
    save_file({"fc.weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(Diffusion4kError, match=r"other\.safetensors: no weights of FID's"):
        InceptionV3(tmp_path / "other.safetensors")
    torch.save([1], tmp_path / "list.pth")
    with pytest.raises(Diffusion4kError, match="holds a list"):
        InceptionV3(tmp_path / "list.pth")


def test_a_hub_that_is_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def refuse(*_: object) -> str:
        raise OSError("offline")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    with pytest.raises(Diffusion4kError, match=r"someone/metrics/inception\.pth: not on this"):
        InceptionV3("someone/metrics/inception.pth")
