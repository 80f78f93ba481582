"""FID's protocols beside torchvision and torchmetrics, and its distance beside torchmetrics'."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance

from diffusion4k.errors import UsageError
from diffusion4k.metrics.architectures.inception import InceptionV3
from diffusion4k.metrics.fid import (
    FidMeasure,
    InceptionResize,
    PatchFidMeasure,
    Resize,
    features,
    fid,
)
from diffusion4k.metrics.frechet import FewSamplesWarning, frechet_distance
from diffusion4k.metrics.networks import Networks
from diffusion4k.metrics.picture import MeasuredImage
from tests.metrics.random_weights import GOLDEN, inception_weights, noise_image
from tests.metrics.tiny_networks import photo_like


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> InceptionV3:
    path = tmp_path_factory.mktemp("inception") / "weights.safetensors"
    save_file(inception_weights(), path)
    return InceptionV3(path)


class Bare(nn.Module):
    """Hands features through that were found before."""

    num_features = 32

    def forward(self, x: Tensor) -> Tensor:
        return x


@pytest.mark.parametrize(
    ("height", "width", "side"), [(200, 310, 128), (301, 203, 64), (64, 64, 100), (90, 61, 61)]
)
def test_square_of_torchvision_to_the_bit(height: int, width: int, side: int) -> None:
    image = noise_image(height, width, 5)
    seen = _square(image, side)
    assert (
        hashlib.sha256(seen.tobytes()).hexdigest() == GOLDEN[f"torchvision_{height}x{width}_{side}"]
    )


def _square(image: np.ndarray, side: int) -> np.ndarray:
    """What step 1 hands to step 2, caught on the way."""
    caught = []

    def catch(x: Tensor, *_: object, **__: object) -> Tensor:
        caught.append(x)
        return x

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("diffusion4k.metrics.architectures.inception.resize_like_tensorflow", catch)
        InceptionResize("tensorflow", side).pixels(image)
    (x,) = caught
    assert torch.equal(x, x.round())
    return x[0].permute(1, 2, 0).contiguous().numpy().astype(np.uint8)


@pytest.mark.parametrize(("height", "width"), [(299, 299), (200, 310), (420, 360)])
def test_features_of_torchmetrics(network: InceptionV3, height: int, width: int) -> None:
    (found,) = features(
        [noise_image(height, width, 2)], network, InceptionResize("torchmetrics", None)
    )
    expected = GOLDEN[f"torchmetrics_{height}x{width}"]
    np.testing.assert_allclose(found[::128], expected, rtol=1e-4, atol=1e-5)


def test_tensorflow_is_the_extractor_of_its_own(network: InceptionV3) -> None:
    image = noise_image(120, 150, 7)
    found = features([image], network, InceptionResize("tensorflow", None))
    np.testing.assert_array_equal(found, network([image]))


def test_clean_is_antialiased_bicubic() -> None:
    image = np.asarray(photo_like(3, 700, 500))
    x = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].double()
    expected = F.interpolate(x, (299, 299), mode="bicubic", antialias=True).clamp(0, 255)
    found = InceptionResize("clean", None).pixels(image)
    torch.testing.assert_close(found.double(), expected, atol=1e-2, rtol=0)


@pytest.mark.parametrize(("count", "others"), [(80, 60), (20, 50)])
@pytest.mark.filterwarnings("ignore::diffusion4k.metrics.frechet.FewSamplesWarning")
def test_distance_of_torchmetrics_to_the_digit(count: int, others: int) -> None:
    random = np.random.default_rng(count)
    a = random.gamma(0.5, size=(count, 32))
    b = random.gamma(0.6, size=(others, 32)) @ random.normal(size=(32, 32)) / 6
    theirs = FrechetInceptionDistance(feature=Bare())
    theirs.update(torch.from_numpy(a), real=True)
    theirs.update(torch.from_numpy(b), real=False)
    expected = float(theirs.compute())
    found = frechet_distance(list(a[:, None]), list(b[:, None]))
    # With fewer samples than dimensions the eigenvalues of theirs that should be zero are not.
    tolerance = 1e-10 if count > 32 else 1e-5
    assert found == pytest.approx(expected, rel=tolerance)


@pytest.mark.slow  # torchmetrics' eigenvalues of 2048x2048
@pytest.mark.parametrize("resize", ["tensorflow", "torchmetrics"])
def test_protocols_in_one_piece(network: InceptionV3, resize: Resize) -> None:
    """From files to the distance: ours, and torchmetrics with the same network within. The first is
    that of the paper's evaluation: rows and columns at `i * size / 299`, as TensorFlow 1 has it."""

    class Whole(nn.Module):
        num_features = 2048

        def forward(self, images: Tensor) -> Tensor:
            if resize == "tensorflow":
                side = images.shape[-1]
                places = 2 * (torch.arange(299) * side / 299).clamp(max=side - 1) / (side - 1) - 1
                grid = torch.stack(torch.meshgrid(places, places, indexing="xy"), dim=-1)
                x = F.grid_sample(images.float(), grid[None], align_corners=True)
            else:
                x = F.interpolate(images.float(), (299, 299), mode="bilinear", antialias=True)
            return torch.from_numpy(network.features_at_299(x)).double()

    theirs = FrechetInceptionDistance(feature=Whole())
    folders = [[photo_like(8 * n + k, 90, 70) for k in range(4)] for n in range(2)]
    for folder, real in zip(folders, (False, True), strict=True):
        for picture in folder:
            square = _square(np.asarray(picture), 48)
            theirs.update(torch.from_numpy(square).permute(2, 0, 1)[None], real=real)
    with pytest.warns(FewSamplesWarning, match="4 samples of 2048 dimensions"):
        found = fid(*folders, network, InceptionResize(resize, 48))
    assert found == pytest.approx(float(theirs.compute()), rel=1e-4)


def test_the_default_is_the_paper_s() -> None:
    """Its evaluation pins torchmetrics 1.5.1, which takes every nth pixel as TensorFlow 1 does."""
    assert Networks().fid_resize == InceptionResize().resize == "tensorflow"
    image = np.random.default_rng(0).integers(0, 256, (598, 598, 3), dtype=np.uint8)
    found = InceptionResize(side=None).pixels(image)[0].permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(found, image[::2, ::2])


def test_protocols_differ_and_say_so(network: InceptionV3, tmp_path: Path) -> None:
    photo_like(1, 400, 320).save(tmp_path / "a.png")
    ways = [
        InceptionResize(),
        InceptionResize("torchmetrics", None),
        InceptionResize("torchmetrics"),
        InceptionResize("clean"),
    ]
    measures = [FidMeasure(network, way) for way in ways]
    assert len({measure.protocol for measure in measures}) == 4
    found = [m(MeasuredImage(tmp_path / "a.png")).features["inception"] for m in measures]
    assert all(x.shape == (1, 2048) for x in found)
    assert not np.allclose(found[0], found[2], rtol=1e-3)
    with pytest.raises(UsageError, match="side 0"):
        InceptionResize(side=0)


def test_patches(network: InceptionV3, tmp_path: Path) -> None:
    image = photo_like(2, 130, 64)
    image.save(tmp_path / "a.png")
    measure = PatchFidMeasure(network, 64, 64)
    found = measure(MeasuredImage(tmp_path / "a.png")).features["inception_patches"]
    halves = [np.asarray(image)[:, :64], np.asarray(image)[:, 66:]]
    np.testing.assert_array_equal(found, network(halves))
    assert "64 native patches of 64" in measure.protocol
