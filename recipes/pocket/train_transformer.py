"""Trains the base of the pocket transformer: whole pictures at 512 px, windows at 1024 px.

    python recipes/pocket/train_transformer.py --data runs/pocket/dataset \\
        --vae runs/pocket/vae_decoder/vae --text runs/pocket/text --out runs/pocket/transformer

What it sees are windows as pictures of their own (see `windows`). Larger sizes it never sees: those
are for `diffusion4k train recipes/pocket-wlf.yaml`. On a GPU if there is one, in bfloat16 there.
Progress is saved; the same command continues. Several processes (`torchrun`) share a batch.
"""

import argparse
import os
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
import torch.distributed as dist
from diffusers import SD3Transformer2DModel, StableDiffusion3Pipeline
from diffusers.models.embeddings import get_2d_sincos_pos_embed
from pictures import captions_of
from torch import Tensor, nn
from train_text_encoders import shortened
from transformers import CLIPTextModelWithProjection, CLIPTokenizer
from windows import MODES, Latents, Mode, draw_batch

from diffusion4k.support.devices import usable_device
from diffusion4k.support.files import atomic_path
from diffusion4k.timesteps import Beta, shift_sigma
from diffusion4k.training.checkpoint.checkpoint import atomic_folder

CONFIG = {
    "sample_size": 32,
    "patch_size": 2,
    "in_channels": 16,
    "out_channels": 16,
    "num_layers": 5,
    "attention_head_dim": 64,
    "num_attention_heads": 3,
    "joint_attention_dim": 256,
    "caption_projection_dim": 192,
    "pooled_projection_dim": 256,
    "pos_embed_max_size": 32,
    "qk_norm": "rms_norm",
}
PHOTOGRAPHS = Path(__file__).parents[2] / "src" / "diffusion4k" / "pocket" / "photographs"
RADIANS = 2.4  # by which the fastest position embedding turns from token to token
ZERO_TOKENS = 1  # stands for the T5 that the pocket model does not have
VARIANTS = 6  # wordings of each caption: whole, shortened
LATE = 0.5

# From LATE on the network learns its own guided velocity (model guidance, arXiv 2502.12154), so
# that sampling needs no second forward.
GUIDANCE = 1.5


@torch.no_grad()
def embed_captions(data: Path, text: Path) -> tuple[Tensor, Tensor]:
    """`(pictures, VARIANTS, tokens, 256)` and `(pictures, VARIANTS, 256)`; last row: no caption."""
    parts = {}
    for suffix in ("", "_2"):
        parts[f"tokenizer{suffix}"] = CLIPTokenizer.from_pretrained(text / f"tokenizer{suffix}")
        parts[f"text_encoder{suffix}"] = CLIPTextModelWithProjection.from_pretrained(
            text / f"text_encoder{suffix}"
        )
    pipeline = StableDiffusion3Pipeline(
        transformer=None, vae=None, scheduler=None, text_encoder_3=None, tokenizer_3=None, **parts
    )
    pipeline.transformer = SimpleNamespace(config=SimpleNamespace(**CONFIG))
    generator = np.random.default_rng(0)
    tokens, pooled = [], []
    for caption in [*(row["text"] for row in captions_of(data)), ""]:
        variants = [caption] + [shortened(caption, generator) for _ in range(VARIANTS - 1)]
        embeds, _, pool, _ = pipeline.encode_prompt(
            variants if caption else [""] * VARIANTS,
            None,
            None,
            device="cpu",
            do_classifier_free_guidance=False,
            max_sequence_length=ZERO_TOKENS,
        )
        tokens.append(embeds)
        pooled.append(pool)
    return torch.stack(tokens).float(), torch.stack(pooled).float()


def build_transformer() -> SD3Transformer2DModel:
    """A new transformer whose blocks start as the identity (adaLN-Zero, Peebles & Xie).

    Its table of position embeddings, part of its weights, turns faster than the stock one: there
    neighbours differ by half a radian at most, and a small network hardly tells them apart.
    """
    model = SD3Transformer2DModel(**CONFIG)
    width, side = model.inner_dim, CONFIG["pos_embed_max_size"]
    table = get_2d_sincos_pos_embed(
        width, side, base_size=side, interpolation_scale=1 / RADIANS, output_type="pt"
    )
    model.pos_embed.pos_embed.copy_(table.float().unsqueeze(0))
    for module in model.modules():
        if type(module).__name__.startswith("AdaLayerNorm"):
            nn.init.zeros_(module.linear.weight)
            nn.init.zeros_(module.linear.bias)
    nn.init.zeros_(model.proj_out.weight)
    nn.init.zeros_(model.proj_out.bias)
    return model


def predict(
    network: nn.Module, noisy: Tensor, sigma: Tensor, context: Tensor, pooled: Tensor
) -> Tensor:
    """The network's velocity in float32, of the noisy latents' shape."""
    return network(
        noisy,
        timestep=1000 * sigma,
        encoder_hidden_states=context,
        pooled_projections=pooled,
        return_dict=False,
    )[0].float()


def noise_levels(mode: Mode, count: int) -> Tensor:
    """Sigma `(count,)`: all levels for a whole picture, mostly small ones for a window.

    A stage of sampling starts from an enlarged picture and never from pure noise.
    """
    uniform = torch.rand(count)
    if mode.most < 1:
        return torch.where(torch.rand(count) < 0.3, Beta().sample(count), mode.most * uniform)
    normal = torch.sigmoid(1.1 * torch.randn(count))
    return torch.where(torch.rand(count) < 0.5, shift_sigma(uniform, 3.0), shift_sigma(normal, 1.5))


def batch_loss(
    network: nn.Module,
    latents: Tensor,
    pictures: Tensor,
    variant: Tensor,
    embeddings: tuple[Tensor, Tensor],
    *,
    mode: Mode,
    guided: bool,
    bf16: bool,
) -> Tensor:
    """The mean squared error of the velocity of a batch, at noise that is drawn here.

    Arguments:
        latents: `(B, 16, H, W)`, on the CPU, where noise is drawn: the same with a GPU and without.
        pictures, variant: `(B,)`, the rows of each one's caption in `embeddings`.
        embeddings: as `embed_captions` gives them, on the network's device.
        guided: the network learns its own guided velocity.
    """
    tokens, pooled = embeddings
    device, captionless = tokens.device, len(tokens) - 1
    sigma, noise = noise_levels(mode, len(latents)), torch.randn_like(latents)
    x, sigma, noise, pictures, variant = (
        each.to(device) for each in (latents, sigma, noise, pictures, variant)
    )
    s = sigma.view(-1, 1, 1, 1)
    noisy = (1 - s) * x + s * noise
    captions = tokens[pictures, variant], pooled[pictures, variant]
    with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        velocity = predict(network, noisy, sigma, *captions)
    predicted = velocity
    if guided:
        # Where v = target + w (v - v_uncaptioned), v is guided by 1 / (1 - w).
        none = torch.full_like(pictures, captionless)
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            bare = predict(network, noisy, sigma, tokens[none, 0], pooled[none, 0])
        captioned = (pictures < captionless).view(-1, 1, 1, 1)
        predicted = velocity - (1 - 1 / GUIDANCE) * (velocity - bare).detach() * captioned
    return (predicted - (noise - x)).square().mean()


def average_gradients(model: nn.Module) -> None:
    """Over the processes, where there are several."""
    if dist.is_initialized():
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        together = torch._utils._flatten_dense_tensors(gradients)
        dist.all_reduce(together)
        together /= dist.get_world_size()
        parts = torch._utils._unflatten_dense_tensors(together, gradients)
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part)


def own_device() -> torch.device:
    """This process's: the GPUs of a machine are shared out among its processes."""
    local = int(os.environ.get("LOCAL_RANK", 0))
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return usable_device(f"cuda:{local % gpus}" if gpus else "cpu")


def train(arguments: argparse.Namespace) -> None:
    device, rank, processes = own_device(), 0, 1
    bf16 = device.type == "cuda" if arguments.bf16 is None else arguments.bf16
    if "WORLD_SIZE" in os.environ:
        dist.init_process_group("gloo")
        rank, processes = dist.get_rank(), dist.get_world_size()
    torch.manual_seed(0)
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    latents = Latents(arguments.data, arguments.vae, out, device)
    if arguments.only_latents:
        for mode in MODES:
            latents[mode]
        return
    tokens, pooled = (each.to(device) for each in embed_captions(arguments.data, arguments.text))
    start: Path | None = arguments.weights
    model = SD3Transformer2DModel.from_pretrained(start) if start else build_transformer()
    model.float().to(device).train()
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters", flush=True)
    averages = {k: v.clone() for k, v in model.state_dict().items()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.99), weight_decay=0.01)
    photographs = {row["text"] for row in captions_of(PHOTOGRAPHS)}
    weights = np.array(
        [
            arguments.photograph_weight if row["text"] in photographs else 1.0
            for row in captions_of(arguments.data)
        ]
    )
    weights /= weights.sum()
    steps, first = arguments.steps, 0
    state_path = out / "state.pt"
    if state_path.exists():
        state = torch.load(state_path, map_location="cpu", weights_only=True)
        first = state["step"]
        averages = {name: value.to(device) for name, value in state["averages"].items()}
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    compiled = torch.compile(model, dynamic=False) if arguments.compile else model
    shares = [mode.share for mode in MODES]
    running: dict[str, float] = {}
    began = time.time()
    for step in range(first, steps):
        mode = MODES[np.random.default_rng([0, step]).choice(len(MODES), p=shares)]
        generator = np.random.default_rng([1, step, rank])
        torch.manual_seed(step * processes + rank)
        count = mode.batch // processes
        x, pictures = draw_batch(latents, mode, count, weights, generator)
        pictures[torch.from_numpy(generator.random(len(pictures)) < 0.05)] = len(tokens) - 1
        # Mostly the caption as it stands, else one of its shortened wordings.
        variant = torch.from_numpy(
            np.maximum(generator.integers(-3 * VARIANTS, VARIANTS, size=len(pictures)), 0)
        )
        loss = batch_loss(
            compiled,
            x,
            pictures,
            variant,
            (tokens, pooled),
            mode=mode,
            guided=step >= LATE * steps,
            bf16=bf16,
        )
        model.zero_grad(set_to_none=True)
        loss.backward()
        average_gradients(model)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        rate = arguments.peak * min(1, (step + 1) / 200)
        rate *= max(0.02, 1 - step / steps)
        for group in optimizer.param_groups:
            group["lr"] = float(rate)
        optimizer.step()
        decay = min(0.995, (step + 1) / (step + 10))
        for name, value in model.state_dict().items():
            averages[name].lerp_(value, 1 - decay)
        running[str(mode)] = 0.97 * running.get(str(mode), loss.item()) + 0.03 * loss.item()
        if rank == 0 and ((step + 1) % 50 == 0 or step + 1 == steps):
            speed = (time.time() - began) / (step + 1 - first)
            shown = ", ".join(f"{name}: {value:.3f}" for name, value in running.items())
            print(
                f"{step + 1}/{steps} {shown}; {speed:.2f} s/step, "
                f"{speed * (steps - step - 1) / 60:.0f} min left",
                flush=True,
            )
        if rank == 0 and ((step + 1) % 200 == 0 or step + 1 == steps):
            state = {
                "step": step + 1,
                "averages": averages,
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
            }
            with atomic_path(state_path) as temporary:
                torch.save(state, temporary)
    if rank == 0:
        model.load_state_dict(averages)
        with atomic_folder(out / "final") as folder:
            model.save_pretrained(folder)
    if dist.is_initialized():
        dist.destroy_process_group()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("runs/pocket/dataset"))
    parser.add_argument("--vae", type=Path, default=Path("runs/pocket/vae_decoder/vae"))
    parser.add_argument("--text", type=Path, default=Path("runs/pocket/text"))
    parser.add_argument("--out", type=Path, default=Path("runs/pocket/transformer"))
    parser.add_argument("--weights", type=Path, help="folder of a transformer to start from")
    parser.add_argument(
        "--photograph-weight",
        type=float,
        default=3.0,
        help="how much more often the bundled photographs are seen: the demo is about them",
    )
    parser.add_argument("--steps", type=int, default=12000)
    parser.add_argument(
        "--bf16",
        action=argparse.BooleanOptionalAction,
        help="on a GPU by default; a CPU with AMX is times faster with it, too",
    )
    parser.add_argument("--peak", type=float, default=1e-3)
    parser.add_argument(
        "--compile", action="store_true", help="needs a C++ compiler; a quarter faster"
    )
    parser.add_argument(
        "--only-latents",
        action="store_true",
        help="encode the pictures (beside a training that is not there yet)",
    )
    train(parser.parse_args())
