"""The discriminators: what they see, and how steep they are."""

import pytest
import pywt
import torch

from diffusion4k.vae.discriminator import PatchDiscriminator, SubBandDiscriminator


def test_one_value_a_patch_of_70_pixels() -> None:
    torch.manual_seed(0)
    network = PatchDiscriminator(channels=4).eval()
    images = torch.randn(1, 3, 256, 256, requires_grad=True)
    values = network(images)
    assert values.shape == (1, 1, 30, 30)
    values[0, 0, 15, 15].backward()
    assert images.grad is not None
    seen = images.grad[0].abs().sum(0)
    rows, columns = seen.any(1).nonzero(), seen.any(0).nonzero()
    assert int(rows.max() - rows.min()) + 1 == int(columns.max() - columns.min()) + 1 == 70


def test_spectral_norms_approach_one() -> None:
    torch.manual_seed(0)
    network = PatchDiscriminator(channels=4)
    for _ in range(100):
        network(torch.randn(1, 3, 32, 32))
    for layer in network.layers:
        if isinstance(layer, torch.nn.Conv2d):
            assert abs(torch.linalg.matrix_norm(layer.weight.flatten(1), 2) - 1) < 0.02


def test_evaluation_changes_nothing() -> None:
    network = PatchDiscriminator(channels=4).eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network(torch.randn(1, 3, 32, 32))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("kind", [PatchDiscriminator, SubBandDiscriminator])
def test_images_of_a_batch_are_judged_alone(
    kind: type[PatchDiscriminator] | type[SubBandDiscriminator],
) -> None:
    network = kind(channels=4).eval()
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(network(images)[1:], network(images[1:]))


def test_sub_bands_are_those_of_pywavelets_and_of_like_strength() -> None:
    network = SubBandDiscriminator(channels=4, layers=1)
    images = torch.rand(1, 3, 16, 24) * 2 - 1
    seen: list[torch.Tensor] = []
    network.layers.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    assert network(images).shape == (1, 1, 4, 6)
    low, detail = pywt.dwt2(images.numpy(), "haar")
    expected = [0.5 * torch.from_numpy(low), *(6 * torch.from_numpy(band) for band in detail)]
    torch.testing.assert_close(seen[0], torch.cat(expected, dim=1))
