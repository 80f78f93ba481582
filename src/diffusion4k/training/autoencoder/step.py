"""One step on one batch: reconstruct it, compare with image and teacher, ask the discriminator."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor, nn

from diffusion4k.training.autoencoder.losses import (
    adaptive_weight,
    detail_error,
    discriminator_hinge,
    generator_hinge,
    gradient_penalty,
    scale_consistency,
)
from diffusion4k.training.autoencoder.recipe import AutoencoderRecipe

__all__ = ["TERMS", "ScaleConsistentLoss", "reconstruct"]

TERMS = ("loss", "mse", "perceptual", "scale_consistency", "wavelet", "adversarial", "weight")


def reconstruct(
    autoencoder: AutoencoderKL, images: Tensor, noise: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Image and the decoder's last features, those that enter `conv_norm_out`.

    Images `(B, 3, H, W)` in [-1, 1], noise of the latents' shape, `None` for the posterior's mean.
    Features are `(B, C, H, W)` at F=8 and `(B, C, H/2, W/2)` at F=16.
    """
    posterior = autoencoder.encode(images).latent_dist
    latents = posterior.mean if noise is None else posterior.mean + posterior.std * noise
    seen: list[Tensor] = []
    with autoencoder.decoder.conv_norm_out.register_forward_pre_hook(
        lambda _, inputs: seen.append(inputs[0])
    ):
        made = autoencoder.decode(latents).sample
    return made, seen[0]


@dataclass
class ScaleConsistentLoss:
    """The losses of a recipe; see `losses` for the formulas.

    `average` takes a tensor to its mean over processes.
    """

    recipe: AutoencoderRecipe
    teacher: AutoencoderKL
    perceptual: nn.Module | None
    discriminator: nn.Module
    average: Callable[[Tensor], Tensor]

    def student(
        self, student: AutoencoderKL, images: Tensor, noise: Tensor | None, *, adversarial: bool
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Reconstructions without gradient, and scalars by the names of `TERMS`.

        `loss` is what to minimise, the others are its terms before their weights, and `weight` is
        the adaptive one.
        """
        weights = self.recipe.loss
        made, features = reconstruct(student, images, noise)
        made = made.float()
        zero = made.new_zeros(())
        terms = dict.fromkeys(TERMS, zero)
        terms["mse"] = F.mse_loss(made, images)
        if self.perceptual is not None:
            terms["perceptual"] = self.perceptual(made, images).mean()
        if weights.wavelet:
            terms["wavelet"] = detail_error(made, images, self.recipe.wavelet)
        if weights.scale_consistency:
            with torch.no_grad():
                _, wanted = reconstruct(self.teacher, images)
            terms["scale_consistency"] = scale_consistency(features.float(), wanted.float())
        loss = (
            weights.mse * terms["mse"]
            + weights.perceptual * terms["perceptual"]
            + weights.wavelet * terms["wavelet"]
        )
        if adversarial:
            self.discriminator.eval().requires_grad_(False)
            terms["adversarial"] = generator_hinge(self.discriminator(made).float())
            last = student.decoder.conv_out.weight
            alone = self.recipe.adversarial.balance == "perceptual"
            as_long_as = terms["perceptual"] if alone else loss
            terms["weight"] = adaptive_weight(as_long_as, terms["adversarial"], last, self.average)
            loss = loss + weights.adversarial * terms["weight"] * terms["adversarial"]
        terms["loss"] = loss + weights.scale_consistency * terms["scale_consistency"]
        return made.detach(), terms

    def judge(self, images: Tensor, made: Tensor) -> Tensor:
        """The discriminator's loss, a scalar."""
        self.discriminator.train().requires_grad_(True)
        # Together, as each call in training mode moves the estimated spectral norms.
        real, fake = self.discriminator(torch.cat([images, made])).float().chunk(2)
        loss = discriminator_hinge(real, fake)
        if weight := self.recipe.adversarial.gradient_penalty:
            loss = loss + weight * gradient_penalty(self.discriminator, images)
        return loss
