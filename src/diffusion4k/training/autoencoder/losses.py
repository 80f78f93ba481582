"""What scale-consistent training minimises: pure functions of tensors.

With teacher T (F=8, frozen), student S (F=16), image x, its reconstruction y, the decoders' last
features f (those that enter the last group norm) and a discriminator D:

    L = a MSE(y, x) + b perceptual(y, x) + c MSE(up2(f_S), f_T) [+ d detail(y, x)] + e l L_G
    L_G = -mean D(y)                                      hinge (Lim and Ye, arXiv 1705.02894)
    L_D = mean (relu(1 - D(x)) + relu(1 + D(y))) / 2 [+ p R(x)]
    R = mean |grad_x sum D(x)|^2 / 2                      R1 (Mescheder et al., arXiv 1801.04406)
    l = |grad L_r| / (|grad L_G| + 1e-6)                  adaptive (VQGAN, arXiv 2012.09841, eq. 7)

where both gradients are taken at the weights of S's last convolution and L_r is what else that
convolution learns from: all but scale consistency, which ends before it.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from diffusion4k.wavelet import dwt2

__all__ = [
    "adaptive_weight",
    "detail_error",
    "discriminator_hinge",
    "generator_hinge",
    "gradient_penalty",
    "scale_consistency",
]

_EPSILON = 1e-6
_LARGEST = 1e4


def scale_consistency(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared error of `(B, C, h, w)`, upsampled x2 (nearest), to `(B, C, 2h, 2w)`."""
    return F.mse_loss(F.interpolate(student, scale_factor=2.0, mode="nearest"), teacher)


def detail_error(images: Tensor, references: Tensor, wavelet: str = "haar") -> Tensor:
    """Mean absolute error of the detail bands LH, HL and HH of images `(B, C, H, W)`.

    UltraFlux trains its autoencoder on these bands (arXiv 2511.18050). In absolute values here, as
    the squared error of orthonormal bands is a part of the images' squared error (Parseval).
    """
    return dwt2(images - references, wavelet)[:, images.shape[1] :].abs().mean()


def generator_hinge(judged: Tensor) -> Tensor:
    """The generator's loss from the discriminator's values of its images."""
    return -judged.mean()


def discriminator_hinge(real: Tensor, made: Tensor) -> Tensor:
    """The discriminator's loss from its values of real and of made images."""
    return (F.relu(1 - real) + F.relu(1 + made)).mean() / 2


def gradient_penalty(discriminator: Callable[[Tensor], Tensor], real: Tensor) -> Tensor:
    """R of the module's text: how steep the discriminator is at real images `(B, C, H, W)`.

    Differentiable by the discriminator's weights.
    """
    real = real.detach().requires_grad_(True)
    (slope,) = torch.autograd.grad(discriminator(real).sum(), real, create_graph=True)
    return slope.square().sum((1, 2, 3)).mean() / 2


def adaptive_weight(
    reconstruction: Tensor,
    adversarial: Tensor,
    last_layer: Tensor,
    average: Callable[[Tensor], Tensor] = lambda gradient: gradient,
) -> Tensor:
    """Weight that gives the adversarial loss a gradient as long as the reconstruction's.

    Args:
        reconstruction, adversarial: scalars, both functions of `last_layer`; the graph stays.
        last_layer: weights of the last convolution.
        average: takes a gradient to its mean over processes, so that all have the same weight.

    Returns:
        A scalar in [0, 10^4] without gradient.
    """
    wanted, found = (
        average(torch.autograd.grad(loss, last_layer, retain_graph=True)[0]).norm()
        for loss in (reconstruction, adversarial)
    )
    return (wanted / (found + _EPSILON)).clamp(0, _LARGEST).detach()
