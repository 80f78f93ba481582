"""Trains the pocket autoencoder on the training pictures, at F=8 and F=16 with the same weights.

    python recipes/pocket/train_autoencoder.py --data runs/pocket/dataset --out runs/pocket/vae

Two stages: the linear chain alone (minutes), then the decoder's whole network from that start.
The encoder stays linear, so that the latents are final after the first stage (`OUT/linear`) and
the transformer can be trained on them meanwhile. On a GPU if there is one. Progress is saved every
few hundred steps; the same command continues where it stopped. At the end it prints the PSNR on
held-out photographs beside principal components of the same budget.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from linear_start import LinearCodec, zero_residual_branches
from pictures import PictureCrops
from torch import Tensor

from diffusion4k.support.devices import usable_device
from diffusion4k.support.files import atomic_path, write_text
from diffusion4k.training.checkpoint.checkpoint import atomic_folder

CONFIG = {
    "block_out_channels": (16, 32, 64, 64),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "latent_channels": 16,
    "mid_block_add_attention": False,  # at 4096 px it would cost more than all the rest
    "use_quant_conv": False,
    "use_post_quant_conv": False,
    "scaling_factor": 1.0,
    "shift_factor": 0.0,
}
WHITENING = 0.5  # latent channel variance = (principal variance) ** WHITENING
LATENT_NOISE = 0.03

Forward = Callable[[Tensor, int], Tensor]  # images and stride to reconstructions


def encode(vae: AutoencoderKL, images: Tensor, stride: int) -> Tensor:
    """Posterior mean; stride 2 in the first convolution makes the same weights an F=16 encoder."""
    vae.encoder.conv_in.stride = (stride, stride)
    return vae.encoder(images).chunk(2, dim=1)[0]


def decode(vae: AutoencoderKL, latents: Tensor, stride: int) -> Tensor:
    decoder = vae.decoder
    x = decoder.mid_block(decoder.conv_in(latents))
    for block in decoder.up_blocks:
        x = block(x)
    x = F.silu(decoder.conv_norm_out(x))
    if stride == 2:
        x = F.interpolate(x, scale_factor=2, mode="nearest")
    return decoder.conv_out(x)


@torch.no_grad()
def rotate(codec: LinearCodec, batches: list[Tensor], stride: int) -> Tensor:
    """Change the latent basis to its principal axes, scaled to a tamer range of variances.

    Gives the standard deviations `(16,)` of the new latents.
    """
    latents = torch.cat(
        [codec.encode(b, stride).transpose(0, 1).flatten(1) for b in batches], dim=1
    )
    mean = latents.mean(1)
    values, vectors = torch.linalg.eigh(torch.cov(latents).double())
    std = values.flip(0).sqrt()
    target = std**WHITENING
    target = target / target.square().mean().sqrt()
    basis = (vectors.flip(1) / std * target).T.float()  # z' = basis @ (z - mean)
    inverse = torch.linalg.inv(basis.double()).float()
    out, first = codec.encoder_out, codec.vae.decoder.conv_in
    out.weight.copy_(torch.einsum("ab,bikl->aikl", basis, out.weight))
    out.bias.copy_(basis @ (out.bias - mean))
    first.bias.add_(torch.einsum("obkl,b->o", first.weight, mean))
    first.weight.copy_(torch.einsum("obkl,ba->oakl", first.weight, inverse))
    return target


def run_stage(
    name: str,
    modules: list[torch.nn.Module],
    step_loss: Callable[[int], tuple[Tensor, list[float]]],
    steps: int,
    peak: float,
    out: Path,
) -> None:
    """Train the modules to `steps`, from the step that `out/{name}.pt` holds, if there is one."""
    parameters = [p for m in modules for p in m.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=peak, betas=(0.9, 0.99), weight_decay=0.0)
    first = 0
    state_path = out / f"{name}.pt"
    if state_path.exists():
        state = torch.load(state_path, map_location="cpu", weights_only=True)
        first = state["step"]
        for module, values in zip(modules, state["modules"], strict=True):
            module.load_state_dict(values)
        optimizer.load_state_dict(state["optimizer"])
    average, start = None, time.time()
    for step in range(first, steps):
        rate = peak * min(1, (step + 1) / 100) * (0.5 + 0.5 * np.cos(np.pi * step / steps)) + 1e-6
        for group in optimizer.param_groups:
            group["lr"] = float(rate)
        loss, psnr = step_loss(step)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 0.5)
        optimizer.step()
        psnr = np.array(psnr)
        average = psnr if average is None else 0.98 * average + 0.02 * psnr
        if (step + 1) % 100 == 0 or step + 1 == steps:
            speed = (time.time() - start) / (step + 1 - first)
            print(
                f"{name} {step + 1}/{steps} PSNR {np.round(average, 2)} "
                f"{speed:.3f} s/step, {speed * (steps - step - 1) / 60:.1f} min left",
                flush=True,
            )
        if (step + 1) % 300 == 0 or step + 1 == steps:
            state = {
                "step": step + 1,
                "modules": [m.state_dict() for m in modules],
                "optimizer": optimizer.state_dict(),
            }
            with atomic_path(state_path) as temporary:
                torch.save(state, temporary)


def psnr_of(error: Tensor) -> float:
    return 10 * np.log10(4 / error.detach().square().mean().item())


def principal_components(train: PictureCrops, test: Tensor, block: int, count: int = 16) -> float:
    """Mean PSNR of `test` from `count` principal components of block x block pixels (training)."""

    def blocks(images: Tensor) -> Tensor:
        n, c, h, w = images.shape
        x = images.view(n, c, h // block, block, w // block, block)
        return x.permute(0, 2, 4, 1, 3, 5).reshape(n, -1, c * block * block)

    rows = blocks(train.batch(4000, 64, np.random.default_rng(1))).flatten(0, 1).double()
    mean = rows.mean(0)
    basis = torch.linalg.eigh(torch.cov(rows.T))[1][:, -count:]
    x = blocks(test).double()
    back = (x - mean) @ basis @ basis.T + mean
    error = (back.clamp(-1, 1) - x).square().mean((1, 2))
    return float((10 * torch.log10(4 / error)).mean())


@torch.no_grad()
def reconstruction_psnr(vae: AutoencoderKL, test: Tensor, stride: int) -> float:
    values = []
    for images in test.to(vae.device).split(16):
        back = decode(vae, encode(vae, images, stride), stride).clamp(-1, 1)
        values += (10 * torch.log10(4 / (back - images).square().mean((1, 2, 3)))).tolist()
    return float(np.mean(values))


def save(vae: AutoencoderKL, path: Path) -> None:
    vae.encoder.conv_in.stride = (1, 1)
    with atomic_folder(path) as folder:
        vae.save_pretrained(folder)


def batch_loss(
    forward: Forward,
    crops: PictureCrops,
    strides: Sequence[int],
    device: torch.device,
    step: int,
    count: int,
) -> tuple[Tensor, list[float]]:
    """The squared error of a step's crops at every stride, weighted, and the PSNR of each."""
    # A step's numbers follow from its own, so a resumed run sees what an uninterrupted one sees.
    generator = np.random.default_rng([0, step])
    torch.manual_seed(step)
    total, psnr = torch.zeros((), device=device), []
    for stride, size, weight in ((1, 64, 1.0), (2, 128, 2.0)):
        if stride in strides:
            images = crops.batch(count, size, generator).to(device)
            error = forward(images, stride) - images
            total = total + weight * error.square().mean()
            psnr.append(psnr_of(error))
    return total, psnr


def train_linear(
    crops: PictureCrops, out: Path, steps: int, strides: Sequence[int], device: torch.device
) -> AutoencoderKL:
    """The linear chain trained alone, its latents on their principal axes, in the network."""
    torch.manual_seed(0)
    vae = AutoencoderKL(**CONFIG)
    zero_residual_branches(vae)
    codec = LinearCodec(vae)
    codec.initialise(crops.batch(256, 64, np.random.default_rng(4)))
    codec.to(device, memory_format=torch.channels_last)

    def forward(images: Tensor, stride: int) -> Tensor:
        return codec.decode(codec.encode(images, stride), stride)

    run_stage(
        "linear",
        [codec],
        lambda step: batch_loss(forward, crops, strides, device, step, 4),
        steps,
        2e-3,
        out,
    )

    def batches(seed: int) -> list[Tensor]:
        drawn = (crops.batch(64, 128, np.random.default_rng([seed, i])) for i in range(16))
        return [batch.to(device) for batch in drawn]

    deviations = rotate(codec, batches(2), strides[-1])
    print("latent standard deviations", [round(v, 3) for v in deviations.tolist()])
    codec.install()
    with torch.no_grad():
        latents = torch.cat([encode(vae, images, strides[-1]) for images in batches(3)])
    vae.register_to_config(
        shift_factor=float(latents.mean()), scaling_factor=float(1 / latents.std())
    )
    return vae


def train(
    data: Path, out: Path, linear_steps: int, steps: int, peak: float, factors: Sequence[int]
) -> None:
    device = usable_device()
    out.mkdir(parents=True, exist_ok=True)
    strides = [factor // 8 for factor in factors]
    crops = PictureCrops(data, (768, 1536), held_out=False)
    held_out = PictureCrops(data, (1536,), held_out=True)
    held_out.probabilities[:] = 1 / len(held_out.arrays)
    test = held_out.batch(256, 128, np.random.default_rng(0))
    if not (out / "linear").exists():
        vae = train_linear(crops, out, linear_steps, strides, device)
        for stride in (1, 2):
            value = reconstruction_psnr(vae, test, stride)
            print(f"after the linear start, F={8 * stride}: {value:.2f} dB", flush=True)
        save(vae, out / "linear")
    # Read, not computed again: another machine may turn the axes of the latents elsewhere.
    vae = AutoencoderKL.from_pretrained(out / "linear").to(device)
    vae.to(memory_format=torch.channels_last)
    print(f"{sum(p.numel() for p in vae.parameters()):,} parameters")

    def forward(images: Tensor, stride: int) -> Tensor:
        with torch.no_grad():
            latents = encode(vae, images, stride)
            latents = latents + LATENT_NOISE * torch.randn_like(latents)
        return decode(vae, latents, stride)

    run_stage(
        "full",
        [vae.decoder],
        lambda step: batch_loss(forward, crops, strides, device, step, 8),
        steps,
        peak,
        out,
    )
    save(vae, out / "autoencoder")
    result = {}
    for stride in (1, 2):
        result[f"F={8 * stride}"] = reconstruction_psnr(vae, test, stride)
        result[f"PCA {8 * stride}x{8 * stride}"] = principal_components(crops, test, 8 * stride)
    lines = [f"{name}: {value:.2f} dB" for name, value in result.items()]
    write_text(out / "psnr.txt", "\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("runs/pocket/dataset"))
    parser.add_argument("--out", type=Path, default=Path("runs/pocket/vae"))
    parser.add_argument("--linear-steps", type=int, default=3000)
    parser.add_argument("--steps", type=int, default=2200)
    parser.add_argument("--peak", type=float, default=2e-4, help="of the second stage")
    parser.add_argument(
        "--factors",
        type=int,
        nargs="+",
        choices=(8, 16),
        default=(8, 16),
        help="8 alone: an autoencoder that has never seen F=16, as those of base models",
    )
    arguments = parser.parse_args()
    train(
        arguments.data,
        arguments.out,
        arguments.linear_steps,
        arguments.steps,
        arguments.peak,
        sorted(arguments.factors),
    )
