"""Trains the pocket transformer from scratch on the training pictures, from 256 px to 4096 px.

    python recipes/pocket/train_transformer.py --data runs/pocket/dataset \\
        --vae runs/pocket/vae/autoencoder --text runs/pocket/text --out runs/pocket/transformer

A picture is learned whole at small sizes, and at large ones through sub-grids, see `sub_grids`.
With `--start` a transformer is trained on, mostly at high resolution, by any objective of a recipe.
Progress is saved; the same command goes on.
"""

import argparse
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F
import yaml
from diffusers import SD3Transformer2DModel, StableDiffusion3Pipeline
from diffusers.models.embeddings import get_2d_sincos_pos_embed
from pictures import captions_of
from pydantic import TypeAdapter
from sub_grids import CANVAS, LATE, ON_MODES, Latents, Positions, draw_batch, modes_at
from torch import Tensor, nn
from train_text_encoders import shortened
from transformers import CLIPTextModelWithProjection, CLIPTokenizer

from diffusion4k.timesteps import Beta, shift_sigma
from diffusion4k.training.build_objective import objective_of
from diffusion4k.training.objective_recipe import ObjectiveRecipe

CONFIG = {
    "sample_size": CANVAS,
    "patch_size": 2,
    "in_channels": 16,
    "out_channels": 16,
    "num_layers": 6,
    "attention_head_dim": 64,
    "num_attention_heads": 3,
    "joint_attention_dim": 256,
    "caption_projection_dim": 192,
    "pooled_projection_dim": 256,
    "pos_embed_max_size": CANVAS,
    "qk_norm": "rms_norm",
}
SHIFT = {512: 1.5, 1024: 2.0, 4096: 3.0}  # of one half of the noise levels, logit-normal
NOISY_SHIFT = {512: 3.0, 1024: 4.0, 4096: 6.0}  # of the other half, uniform: near pure noise
PHOTOGRAPHS = Path(__file__).parents[2] / "src" / "diffusion4k" / "pocket" / "photographs"
RADIANS = 2.4  # by which the fastest position embedding turns from token to token
ZERO_TOKENS = 1  # stands for the T5 that the pocket model does not have
STOCK_ZERO_TOKENS = 256
VARIANTS = 6  # wordings of each caption: whole, shortened


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


def velocity_of(
    network: nn.Module, noisy: Tensor, sigma: Tensor, context: Tensor, pooled: Tensor
) -> Tensor:
    return network(
        noisy,
        timestep=1000 * sigma,
        encoder_hidden_states=context,
        pooled_projections=pooled,
        return_dict=False,
    )[0]


def train(arguments: argparse.Namespace) -> None:
    torch.manual_seed(0)
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    latents = Latents(arguments.data, arguments.vae, out)
    if arguments.only_latents:
        for side in SHIFT:
            latents[side]
        return
    tokens, pooled = embed_captions(arguments.data, arguments.text)
    start: Path | None = arguments.start
    model = SD3Transformer2DModel.from_pretrained(start) if start else build_transformer()
    model.float().train()
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters", flush=True)
    positions = Positions(model)
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
    given = yaml.safe_load(arguments.objective)
    objective = objective_of(TypeAdapter(ObjectiveRecipe).validate_python(given))
    steps, first = arguments.steps, 0
    state_path = out / "state.pt"
    if state_path.exists():
        state = torch.load(state_path, weights_only=True)
        first, averages = state["step"], state["averages"]
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    compiled = torch.compile(model, dynamic=False) if arguments.compile else model
    running: dict[str, float] = {}
    began = time.time()
    for step in range(first, steps):
        generator = np.random.default_rng([1, step])
        torch.manual_seed(step)
        late = start is not None or step >= LATE * steps
        modes = ON_MODES if start else modes_at(step, steps)
        mode = modes[generator.choice(len(modes), p=[m.share for m in modes])]
        x, pictures = draw_batch(latents, mode, weights, positions, generator)
        pictures[torch.from_numpy(generator.random(len(pictures)) < 0.05)] = len(tokens) - 1
        # Mostly the caption as it stands, else one of its shortened wordings.
        variant = torch.from_numpy(
            np.maximum(generator.integers(-3 * VARIANTS, VARIANTS, size=len(pictures)), 0)
        )
        sigma = torch.where(
            torch.rand(len(x)) < 0.5,
            shift_sigma(torch.rand(len(x)), NOISY_SHIFT[mode.side]),
            Beta().sample(len(x))
            if arguments.levels == "beta"
            else shift_sigma(torch.sigmoid(1.1 * torch.randn(len(x))), SHIFT[mode.side]),
        )
        noise = torch.randn_like(x)
        s = sigma.view(-1, 1, 1, 1)
        context = tokens[pictures, variant]
        if (
            mode.batch == 8 and generator.random() < 0.2
        ):  # as many zeros as the stock pipeline adds unless told
            context = F.pad(context, (0, 0, 0, STOCK_ZERO_TOKENS - ZERO_TOKENS))
        noisy = (1 - s) * x + s * noise
        velocity = velocity_of(compiled, noisy, sigma, context, pooled[pictures, variant])
        predicted = velocity
        if late:
            # Where v = target + w (v - v_uncaptioned), v is guided by 1 / (1 - w).
            none = torch.full_like(pictures, len(tokens) - 1)
            with torch.no_grad():
                difference = velocity - velocity_of(
                    model, noisy, sigma, tokens[none, 0], pooled[none, 0]
                )
            captioned = (pictures < len(tokens) - 1).view(-1, 1, 1, 1)
            predicted = velocity - (1 - 1 / GUIDANCE) * difference.detach() * captioned
        loss = objective(predicted, latents=x, noise=noise, sigma=sigma).mean()
        model.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        rate = arguments.peak * min(1, (step + 1) / 200)
        rate *= max(0.02, 1 - step / steps)
        for group in optimizer.param_groups:
            group["lr"] = float(rate)
        optimizer.step()
        decay = min(0.99, (step + 1) / (step + 10))
        for name, value in model.state_dict().items():
            averages[name].lerp_(value, 1 - decay)
        running[str(mode)] = 0.97 * running.get(str(mode), loss.item()) + 0.03 * loss.item()
        if (step + 1) % 50 == 0 or step + 1 == steps:
            speed = (time.time() - began) / (step + 1 - first)
            shown = ", ".join(f"{name}: {value:.3f}" for name, value in running.items())
            print(
                f"{step + 1}/{steps} {shown}; {speed:.2f} s/step, "
                f"{speed * (steps - step - 1) / 60:.0f} min left",
                flush=True,
            )
        if (step + 1) % 200 == 0 or step + 1 == steps:
            temporary = state_path.with_suffix(".part")
            torch.save(
                {
                    "step": step + 1,
                    "averages": averages,
                    "model": model.state_dict(),
                    "optimizer": optimizer.state_dict(),
                },
                temporary,
            )
            temporary.replace(state_path)
    positions.embed.cropped_pos_embed = positions.central
    model.load_state_dict(averages)
    model.save_pretrained(out / "final")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("runs/pocket/dataset"))
    parser.add_argument("--vae", type=Path, default=Path("runs/pocket/vae/autoencoder"))
    parser.add_argument("--text", type=Path, default=Path("runs/pocket/text"))
    parser.add_argument("--out", type=Path, default=Path("runs/pocket/transformer"))
    parser.add_argument("--start", type=Path, help="folder of a transformer, to be trained on")
    parser.add_argument("--objective", default="{name: flow-matching}", help="as in a recipe")
    parser.add_argument(
        "--levels",
        choices=["logit-normal", "beta"],
        default="logit-normal",
        help="of one half of the noise levels; docs/ablation-pocket.md found beta best for detail",
    )
    parser.add_argument(
        "--photograph-weight",
        type=float,
        default=2.0,
        help="how much more often the bundled photographs are seen: the demo is about them",
    )
    parser.add_argument("--steps", type=int, default=8000)
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
