"""The patch discriminator: what it sees, and how steep it is."""

import torch

from diffusion4k.vae.discriminator import PatchDiscriminator


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


def test_images_of_a_batch_are_judged_alone() -> None:
    network = PatchDiscriminator(channels=4).eval()
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(network(images)[1:], network(images[1:]))
