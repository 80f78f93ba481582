"""EffNet-PD is a distance that grows with damage, and has a gradient that mends it."""

import pytest
import torch

from diffusion4k.errors import UsageError
from diffusion4k.metrics.architectures.perceptual import EffNetDistance


@pytest.fixture(scope="module")
def distance() -> EffNetDistance:
    return EffNetDistance()


def test_of_an_image_to_itself_is_nothing_and_order_does_not_matter(distance) -> None:
    a, b = torch.rand(2, 1, 3, 70, 50) * 2 - 1
    assert distance(a, a).item() == 0
    torch.testing.assert_close(distance(a, b), distance(b, a))


def test_more_blur_is_farther(distance) -> None:
    torch.manual_seed(0)
    image = torch.rand(1, 3, 64, 64) * 2 - 1

    def blurred(size: int) -> torch.Tensor:
        return torch.nn.functional.avg_pool2d(image, size, 1, size // 2)

    values = [distance(image, blurred(size)).item() for size in (1, 3, 7)]
    assert values[0] < values[1] < values[2]


def test_is_the_sum_over_five_resolutions_of_cosine_distances(distance) -> None:
    """|u - v|^2 = 2 - 2 cos: the same from torch's own cosine similarity."""
    a, b = torch.rand(2, 2, 3, 64, 64) * 2 - 1
    found, expected = distance(a, b), torch.zeros(2)
    first, second = distance._features(a), distance._features(b)
    assert [64 // f.shape[-1] for f in first] == [2, 4, 8, 16, 32]
    for u, v in zip(first, second, strict=True):
        expected += (2 - 2 * torch.nn.functional.cosine_similarity(u, v)).mean((1, 2))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_descent_along_its_gradient_brings_images_closer(distance) -> None:
    torch.manual_seed(1)
    target = torch.rand(1, 3, 64, 64) * 2 - 1
    image = (target + 0.3 * torch.randn_like(target)).requires_grad_()
    before = distance(image, target)
    before.sum().backward()
    step = 0.01 * image.grad / image.grad.abs().max()
    assert distance(image - step, target).item() < before.item()


def test_shapes_that_differ_are_refused(distance) -> None:
    with pytest.raises(UsageError, match="both must be"):
        distance(torch.zeros(1, 3, 32, 32), torch.zeros(1, 3, 32, 64))
