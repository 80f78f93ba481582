"""The plan beside the memory that Diffusion-4K publishes for one A100 (arXiv 2503.18352), bf16.

    python benchmarks/plan_published.py

Published are 4096x4096 images of SD3-F16-WLF and Flux-F16-WLF, with all of the pipeline on the
GPU and with model offload. That is the stock pipeline: text encoders stay, and the image is
decoded plainly, the last convolution in four parts. Two readings of its decoder are planned:

- scores held: the attention in the middle of the autoencoder holds the matrix of its scores,
  65,536 x 65,536 numbers of 2 bytes, and their softmax beside it: attention that is not fused;
- fused: it does not, as in a current torch.

Times are planned at the share of an A100's speed that `plan` assumes. Published are seconds a step,
with and without offload, and the images a second of training (Table 10) on 2 GPUs with a batch of 8
each, and on 8 with 4, as the reference's commands have them. How long offload takes to move weights
is not known: the planned step is the same with it.
"""

import torch
from common import GIB, save
from torch.backends import cuda

from diffusion4k.accounting.blueprint import Blueprint
from diffusion4k.accounting.computation import FusedAttention
from diffusion4k.accounting.machine import A100, described_machine
from diffusion4k.accounting.stages import denoising_stage, text_encoding_stage
from diffusion4k.accounting.tracker import CostTracker, gpu_workspace
from diffusion4k.families.base import meta_tensor
from diffusion4k.objectives import WaveletFlow
from diffusion4k.planning.plan import overhead
from diffusion4k.training.step_cost import TrainingSetup, training_stages

BF16 = torch.bfloat16
SIDE = 4096
MACHINE = described_machine(gpus=1)
PUBLISHED = {
    "sd3-medium": {"whole": 31.3, "offload": 16.1, "seconds": 1.16, "seconds_offload": 1.22},
    "flux.1-dev": {"whole": 50.4, "offload": 26.9, "seconds": 2.42, "seconds_offload": 3.16},
}
TRAINED = {"sd3-medium": (2, 0.59), "flux.1-dev": (8, 1.39)}


def plain_decoding(model: Blueprint, *, fused: bool) -> int:
    """Bytes beside the weights, the last convolution in 2x2 parts."""
    autoencoder = model.build("vae", BF16)
    tail, autoencoder.decoder.conv_out = autoencoder.decoder.conv_out, torch.nn.Identity()
    latents = meta_tensor(1, 16, SIDE // 16, SIDE // 16, dtype=BF16)
    # As attention was before fused kernels: all in bfloat16.
    cuda.allow_fp16_bf16_reduction_math_sdp(True)
    with CostTracker(gpu_workspace) as tracker, torch.no_grad():
        if fused:
            with FusedAttention():
                features = autoencoder.decode(latents).sample
        else:
            features = autoencoder.decode(latents).sample
        half = features[..., : features.shape[-2] // 2 + 2, : features.shape[-1] // 2 + 2]
        parts = []
        for _ in range(4):
            upsampled = torch.nn.functional.interpolate(half, scale_factor=2.0)
            parts.append(torch.nn.functional.conv2d(upsampled, tail.weight, tail.bias, padding=1))
            del upsampled
    return tracker.peak


def predicted(name: str, *, fused: bool) -> dict[str, float]:
    """GiB with everything on the GPU, and with one component on it at a time."""
    model = Blueprint(name, 16)
    kind = model.family.guidance_kind(model.folder)
    text = text_encoding_stage(model, BF16, gpu=True)
    denoising = denoising_stage(model, SIDE, SIDE, BF16, guided=kind == "classifier-free", gpu=True)
    autoencoder = denoising.parts["autoencoder"]
    decoding = plain_decoding(model, fused=fused)
    weights = text.parts["weights"] + denoising.parts["weights"] + autoencoder
    activations = denoising.peak - denoising.parts["weights"] - autoencoder
    whole = weights + max(activations, decoding)
    offload = max(text.peak, denoising.peak - autoencoder, autoencoder + decoding)
    return {
        "whole": (whole + overhead(MACHINE)) / GIB,
        "offload": (offload + overhead(MACHINE)) / GIB,
        "flops_of_a_step": float(denoising.flops),
    }


def trained(name: str) -> dict[str, float]:
    """Images a second of training with gradient checkpointing, planned and published."""
    gpus, published = TRAINED[name]
    model = Blueprint(name, 16)
    setup = TrainingSetup(SIDE, SIDE, 1, WaveletFlow(), True, bfloat16=True)
    flops = training_stages(model, setup, gpu=True)[0].flops
    return {
        "gpus": gpus,
        "published": published,
        "planned": gpus / MACHINE.seconds(flops),
        "utilisation": published * flops / gpus / A100,
    }


def main() -> None:
    result = {}
    for name, published in PUBLISHED.items():
        for reading, fused in (("scores held", False), ("fused", True)):
            found = predicted(name, fused=fused)
            # The paper's GB may be 2^30 bytes or 10^9.
            errors = {
                key: {
                    "GB of 2^30": found[key] / published[key] - 1,
                    "GB of 10^9": found[key] * GIB / 1e9 / published[key] - 1,
                }
                for key in ("whole", "offload")
            }
            utilisation = found["flops_of_a_step"] / published["seconds"] / A100
            seconds = MACHINE.seconds(found["flops_of_a_step"])
            times = {
                key: round(seconds / published[key] - 1, 4)
                for key in ("seconds", "seconds_offload")
            }
            print(
                f"{name}, {reading}: "
                + ", ".join(
                    f"{key} {found[key]:.1f} GiB, {found[key] * GIB / 1e9:.1f} GB, published "
                    f"{published[key]} GB ({both['GB of 2^30']:+.1%}, {both['GB of 10^9']:+.1%})"
                    for key, both in errors.items()
                )
                + f"; {published['seconds']} s a step are {utilisation:.0%} of an A100, "
                f"planned {seconds:.2f} s ({times['seconds']:+.0%}; with offload "
                f"{times['seconds_offload']:+.0%})",
                flush=True,
            )
            result[f"{name}, {reading}"] = {
                **{key: round(value, 4) for key, value in found.items()},
                "published": published,
                "errors": {
                    key: {unit: round(error, 4) for unit, error in both.items()}
                    for key, both in errors.items()
                },
                "utilisation": round(utilisation, 3),
                "planned_seconds": round(seconds, 3),
                "errors_of_seconds": times,
            }
        training = trained(name)
        result[f"{name}, training"] = {key: round(value, 3) for key, value in training.items()}
        print(
            f"{name}, training on {training['gpus']} GPUs: {training['published']} images/s are "
            f"{training['utilisation']:.0%} of an A100 each, planned {training['planned']:.2f}",
            flush=True,
        )
    save("plan_published", result)


if __name__ == "__main__":
    main()
