"""The losses against other ways to compute them."""

from collections.abc import Callable

import pytest
import pywt
import torch
from torch import nn

from benchmarks.tiny import tiny_autoencoder
from diffusion4k.training.autoencoder.losses import (
    adaptive_weight,
    detail_error,
    discriminator_hinge,
    generator_hinge,
    gradient_penalty,
    scale_consistency,
)
from diffusion4k.training.autoencoder.prepare import build_perceptual, initial_student
from diffusion4k.training.autoencoder.recipe import AutoencoderRecipe
from diffusion4k.training.autoencoder.step import ScaleConsistentLoss, reconstruct
from diffusion4k.vae.discriminator import PatchDiscriminator, SubBandDiscriminator


def test_scale_consistency_is_zero_where_features_agree() -> None:
    student = torch.randn(2, 5, 3, 4)
    teacher = student.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    assert scale_consistency(student, teacher) == 0
    assert scale_consistency(student, teacher + 3) == pytest.approx(9)
    teacher[0, 1, 2, 3] += 1
    assert scale_consistency(student, teacher) == pytest.approx(1 / teacher.numel())


def test_hinges_by_formula() -> None:
    real, made = [2.0, 0.5, -1.0], [-3.0, 0.25, 0.0]
    expected = sum(max(0, 1 - r) for r in real) / 3 + sum(max(0, 1 + m) for m in made) / 3
    found = discriminator_hinge(torch.tensor(real), torch.tensor(made))
    assert found == pytest.approx(expected / 2)
    assert generator_hinge(torch.tensor(made)) == pytest.approx(-sum(made) / 3)


@pytest.mark.parametrize("wavelet", ["haar", "db2"])
def test_detail_error_is_that_of_pywavelets(wavelet: str) -> None:
    images, references = torch.rand(2, 3, 8, 12), torch.rand(2, 3, 8, 12)
    bands = [
        pywt.dwt2(x.double().numpy(), wavelet, mode="periodization", axes=(2, 3))[1]
        for x in (images, references)
    ]
    errors = [abs(a - b).mean() for a, b in zip(*bands, strict=True)]
    assert detail_error(images, references, wavelet).item() == pytest.approx(
        sum(errors) / 3, rel=1e-5
    )
    shade = images + torch.rand(2, 3, 1, 1)
    assert detail_error(shade, images, wavelet) < 1e-6


def test_adaptive_weight_against_finite_differences() -> None:
    torch.manual_seed(0)
    last = nn.Conv2d(2, 3, 3, padding=1).double()
    judge = nn.Conv2d(3, 1, 4).double()
    features, target = torch.randn(1, 2, 6, 6).double(), torch.randn(1, 3, 6, 6).double()

    def losses(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        image = nn.functional.conv2d(features, weight, last.bias, padding=1)
        return (image - target).square().mean(), generator_hinge(judge(image).tanh())

    slopes = torch.zeros(2, last.weight.numel()).double()
    for i in range(last.weight.numel()):
        step = torch.zeros_like(last.weight).view(-1)
        step[i] = 1e-6
        up, down = (losses(last.weight + sign * step.view_as(last.weight)) for sign in (1, -1))
        slopes[:, i] = torch.stack([(u - d) / 2e-6 for u, d in zip(up, down, strict=True)])
    expected = slopes[0].norm() / (slopes[1].norm() + 1e-6)
    reconstruction, adversarial = losses(last.weight)
    weight = adaptive_weight(reconstruction, adversarial, last.weight)
    assert weight.item() == pytest.approx(expected.item(), rel=1e-6)
    assert not weight.requires_grad
    (reconstruction + weight * adversarial).backward()  # the graph is still there


def test_adaptive_weight_has_a_largest_value_and_averages() -> None:
    last = torch.ones(3, requires_grad=True)
    assert adaptive_weight(last.sum(), 0 * last.sum(), last) == 1e4
    halved = adaptive_weight((2 * last).sum(), last.sum(), last, lambda gradient: gradient / 2)
    assert halved == pytest.approx(2, rel=1e-5)


@pytest.mark.parametrize("balance", ["all", "perceptual"])
def test_the_adaptive_weight_is_of_all_or_of_the_perceptual_distance(
    recipe: Callable[..., AutoencoderRecipe], balance: str
) -> None:
    torch.manual_seed(0)
    adversarial = {"start": 0, "balance": balance, "channels": 4, "layers": 2}
    wanted = recipe(adversarial=adversarial, posterior="mean")
    teacher = tiny_autoencoder()
    student, perceptual = initial_student(wanted, teacher), build_perceptual(wanted)
    judge = PatchDiscriminator(4, 2)
    assert perceptual is not None
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    losses = ScaleConsistentLoss(wanted, teacher, perceptual, judge, lambda tensor: tensor)
    _, terms = losses.student(student, images, None, adversarial=True)

    made, _ = reconstruct(student, images)
    alone = perceptual(made, images).mean()
    weights = wanted.loss
    learned = weights.mse * (made - images).square().mean() + weights.perceptual * alone
    learned = learned + weights.wavelet * detail_error(made, images)
    reference = alone if balance == "perceptual" else learned
    norms = [
        torch.autograd.grad(loss, student.decoder.conv_out.weight, retain_graph=True)[0].norm()
        for loss in (reference, generator_hinge(judge(made)))
    ]
    torch.testing.assert_close(terms["weight"], norms[0] / norms[1], rtol=1e-3, atol=0)


def test_the_gradient_penalty_is_that_of_a_plain_sum() -> None:
    torch.manual_seed(0)
    weight = torch.randn(3, requires_grad=True)
    real = torch.randn(2, 3, 4, 4)
    # D = sum of w_c x_c^2, its slope 2 w_c x_c.
    penalty = gradient_penalty(lambda x: (weight.view(1, 3, 1, 1) * x**2).sum((1, 2, 3)), real)
    squared = real.square().sum((2, 3))
    torch.testing.assert_close(penalty, (4 * weight**2 * squared).sum(1).mean() / 2)
    (gradient,) = torch.autograd.grad(penalty, weight)
    torch.testing.assert_close(gradient, (4 * weight * squared).mean(0))


@pytest.mark.parametrize("penalty", [0.0, 0.3])
def test_the_discriminators_loss_has_the_penalty_of_the_recipe(
    recipe: Callable[..., AutoencoderRecipe], penalty: float
) -> None:
    torch.manual_seed(0)
    wanted = recipe(adversarial={"sees": "sub-bands", "gradient_penalty": penalty, "layers": 1})
    judge = SubBandDiscriminator(4, 1)
    losses = ScaleConsistentLoss(wanted, tiny_autoencoder(), None, judge, lambda tensor: tensor)
    real, made = torch.rand(2, 2, 3, 32, 32) * 2 - 1
    expected = discriminator_hinge(judge(real), judge(made))
    expected = expected + penalty * gradient_penalty(judge, real)
    torch.testing.assert_close(losses.judge(real, made), expected)
