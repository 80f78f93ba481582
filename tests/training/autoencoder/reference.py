"""One step of scale-consistent training in plain PyTorch, all written out."""

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from safetensors.torch import load_file
from torch import Tensor

from diffusion4k.metrics.architectures.perceptual import EffNetDistance
from diffusion4k.training.autoencoder.recipe import AutoencoderRecipe
from diffusion4k.vae import ScaleConsistentAutoencoderKL
from diffusion4k.vae.discriminator import PatchDiscriminator

__all__ = ["after_one_step"]


def _decode(autoencoder: AutoencoderKL, latents: Tensor) -> tuple[Tensor, Tensor]:
    decoder = autoencoder.decoder
    features = decoder.mid_block(decoder.conv_in(latents))
    for block in decoder.up_blocks:
        features = block(features)
    return decoder.conv_out(F.silu(decoder.conv_norm_out(features))), features


def _details(image: Tensor) -> Tensor:
    a, b = image[..., 0::2, 0::2], image[..., 0::2, 1::2]
    c, d = image[..., 1::2, 0::2], image[..., 1::2, 1::2]
    return torch.cat([a + b - c - d, a - b + c - d, a - b - c + d], dim=1) / 2


def after_one_step(
    recipe: AutoencoderRecipe, images: Tensor, discriminator: PatchDiscriminator
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """The student's weights and the losses after the first step on `images`; no posterior noise.

    `discriminator` as it is before the step; it is trained.
    """
    teacher = AutoencoderKL.from_pretrained(f"{recipe.model}/vae")
    student = ScaleConsistentAutoencoderKL.from_autoencoder(teacher, recipe.start)
    student.requires_grad_(True)
    rate = recipe.optimizer.learning_rate

    made, own = _decode(student, student.encoder(images).chunk(2, dim=1)[0])
    with torch.no_grad():
        _, wanted = _decode(teacher, teacher.encoder(images).chunk(2, dim=1)[0])
    doubled = own.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    consistency = (doubled - wanted).square().mean()
    mse = (made - images).square().mean()
    perceptual = EffNetDistance()(made, images).mean()
    wavelet = (_details(made) - _details(images)).abs().mean()
    rest = mse + 0.1 * perceptual + recipe.loss.wavelet * wavelet
    fooled = -discriminator.eval()(made).mean()
    last = student.decoder.conv_out.weight
    slopes = [torch.autograd.grad(v, last, retain_graph=True)[0].norm() for v in (rest, fooled)]
    weight = float(slopes[0] / (slopes[1] + 1e-6))
    loss = rest + consistency + 0.05 * weight * fooled
    optimizer = torch.optim.AdamW(student.parameters(), lr=rate, weight_decay=1e-4)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
    optimizer.step()

    discriminator.zero_grad()
    real, fake = discriminator.train()(torch.cat([images, made.detach()])).chunk(2)
    judged = 0.5 * (F.relu(1 - real).mean() + F.relu(1 + fake).mean())
    optimizer = torch.optim.AdamW(discriminator.parameters(), lr=rate, weight_decay=1e-4)
    judged.backward()
    torch.nn.utils.clip_grad_norm_(discriminator.parameters(), 1.0)
    optimizer.step()
    losses = {
        "loss": loss,
        "mse": mse,
        "perceptual": perceptual,
        "scale_consistency": consistency,
        "wavelet": wavelet,
        "adversarial": fooled,
        "discriminator": judged,
    }
    numbers = {name: value.item() for name, value in losses.items()}
    return student.state_dict(), numbers | {"weight": weight}


def saved_weights(folder: str) -> dict[str, Tensor]:
    """Of an autoencoder's folder."""
    return load_file(f"{folder}/diffusion_pytorch_model.safetensors")
