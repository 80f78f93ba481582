"""Trains the pocket transformer from scratch on the training pictures, from 256 px to 4096 px.

    python recipes/pocket/train_transformer.py --data runs/pocket/dataset \\
        --vae runs/pocket/vae/autoencoder --text runs/pocket/text --out runs/pocket/transformer

A picture is learned whole at small sizes, and at large ones through sub-grids: every s-th token of
its latents, from a random place, enters with the position embeddings of its own place. Small s
shows neighbours, large s the whole picture, and either costs as little as a small image; all
128x128 positions of a 4096 px picture are learned so (in the manner of Patch Diffusion, arXiv
2304.12526, and of training on a subset of tokens, arXiv 2306.09305). Progress is saved; the same
command goes on.
"""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, SD3Transformer2DModel, StableDiffusion3Pipeline
from diffusers.models.embeddings import get_2d_sincos_pos_embed
from pictures import captions_of, load_at_short_side, to_tensor
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from train_text_encoders import shortened
from transformers import CLIPTextModelWithProjection, CLIPTokenizer

from diffusion4k.files import atomic_path
from diffusion4k.objectives import FlowMatching
from diffusion4k.timesteps import shift_sigma
from diffusion4k.vae import PartitionedAutoencoderKL

CONFIG = {
    "sample_size": 128,
    "patch_size": 2,
    "in_channels": 16,
    "out_channels": 16,
    "num_layers": 6,
    "attention_head_dim": 64,
    "num_attention_heads": 3,
    "joint_attention_dim": 256,
    "caption_projection_dim": 192,
    "pooled_projection_dim": 256,
    "pos_embed_max_size": 128,
    "qk_norm": "rms_norm",
}
SHIFT = {512: 1.5, 1024: 2.0, 4096: 3.0}  # of one half of the noise levels, logit-normal
NOISY_SHIFT = {512: 3.0, 1024: 4.0, 4096: 6.0}  # of the other half, uniform: near pure noise
PHOTOGRAPHS = Path(__file__).parents[2] / "src" / "diffusion4k" / "pocket" / "photographs"
PHOTOGRAPH_WEIGHT = 2.0  # the bundled photographs are seen more often: the demo is about them
RADIANS = 2.4  # by which the fastest position embedding turns from token to token
ZERO_TOKENS = 1  # stands for the T5 that the pocket model does not have
STOCK_ZERO_TOKENS = 256
VARIANTS = 6  # wordings of each caption: whole, shortened


@dataclass(frozen=True)
class Mode:
    """A kind of batch: `tokens` x `tokens` tokens, every `stride`-th, of pictures at `side` px."""

    side: int
    tokens: int
    stride: int
    batch: int
    share: float

    def __str__(self) -> str:
        return f"{self.side}/{self.tokens}/{self.stride}"


# Many pictures in few tokens each teach what a caption means; whole grids and neighbours, how
# tokens fit together.
MODES = (
    Mode(512, 8, 2, 32, 0.45),
    Mode(512, 16, 1, 8, 0.27),
    Mode(4096, 8, 16, 32, 0.05),
    Mode(4096, 16, 8, 8, 0.02),
    Mode(4096, 16, 4, 8, 0.02),
    Mode(4096, 16, 2, 8, 0.03),
    Mode(4096, 16, 1, 8, 0.11),
    Mode(4096, 32, 1, 2, 0.05),
)
# Towards the end also many tokens at once, as in a whole image: attention over thousands of tokens
# must not lose sight of the neighbours, or each token takes a shade of its own.
LATE = 0.6  # of all steps
LATE_MODES = (
    Mode(512, 8, 2, 32, 0.19),
    Mode(512, 16, 1, 8, 0.20),
    Mode(1024, 16, 2, 8, 0.07),
    Mode(1024, 32, 1, 2, 0.06),
    Mode(4096, 8, 16, 32, 0.11),
    Mode(4096, 16, 8, 8, 0.10),
    Mode(4096, 16, 4, 8, 0.04),
    Mode(4096, 16, 2, 8, 0.04),
    Mode(4096, 16, 1, 8, 0.05),
    Mode(4096, 32, 1, 2, 0.05),
    Mode(4096, 64, 2, 1, 0.03),
    Mode(4096, 64, 1, 1, 0.06),
)
# And last mostly so.
LAST = 0.94
LAST_MODES = (
    Mode(512, 8, 2, 32, 0.05),
    Mode(512, 16, 1, 8, 0.12),
    Mode(1024, 32, 1, 2, 0.08),
    Mode(4096, 8, 16, 32, 0.07),
    Mode(4096, 16, 8, 8, 0.10),
    Mode(4096, 32, 1, 2, 0.10),
    Mode(4096, 64, 2, 1, 0.08),
    Mode(4096, 64, 1, 1, 0.40),
)
# From LATE on the network learns its own guided velocity (model guidance, arXiv 2502.12154), so
# that sampling needs no second forward.
GUIDANCE = 1.5


class Latents:
    """Normalised F=16 latents of the pictures by short side, computed and stored at first use.

    At 4096 px it is the picture's central square, else the whole picture.
    """

    def __init__(self, data: Path, vae_folder: Path, out: Path) -> None:
        self.data, self.vae_folder, self.out = data, vae_folder, out
        self.loaded: dict[int, list[Tensor]] = {}

    def __getitem__(self, short_side: int) -> list[Tensor]:
        if short_side not in self.loaded:
            path = self.out / f"latents-{short_side}.safetensors"
            if not path.exists():
                self._encode(short_side, path)
            stored = load_file(path)
            self.loaded[short_side] = [stored[str(i)] for i in range(len(stored))]
        return self.loaded[short_side]

    @torch.no_grad()
    def _encode(self, short_side: int, path: Path) -> None:
        stock = AutoencoderKL.from_pretrained(self.vae_folder)
        vae = PartitionedAutoencoderKL.from_autoencoder(stock).eval()
        found = {}
        for i, row in enumerate(captions_of(self.data)):
            array = load_at_short_side(self.data / row["file_name"], short_side)
            height, width = (n // 32 * 32 for n in array.shape[:2])
            if short_side == 4096:
                height = width = 4096
            top, left = (array.shape[0] - height) // 2, (array.shape[1] - width) // 2
            image = to_tensor(array[None, top : top + height, left : left + width].copy())
            z = vae.encode(image.contiguous()).latent_dist.mode()[0]
            z = (z - vae.config.shift_factor) * vae.config.scaling_factor
            found[str(i)] = z.half().contiguous()
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            save_file(found, temporary)
        print(f"latents at {short_side} px: {len(found)} pictures", flush=True)


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
    return torch.stack(tokens), torch.stack(pooled)


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


class Positions:
    """Lets a sub-grid of a larger canvas enter with the position embeddings of its own places."""

    def __init__(self, transformer: SD3Transformer2DModel) -> None:
        self.embed = transformer.pos_embed
        side = self.embed.pos_embed_max_size
        self.table = self.embed.pos_embed.view(1, side, side, -1)
        self.chosen = self.table.flatten(1, 2)
        self.central = self.embed.cropped_pos_embed
        self.embed.cropped_pos_embed = self

    def choose(self, rows: slice, columns: slice) -> None:
        self.chosen = self.table[:, rows, columns].flatten(1, 2).contiguous()

    def __call__(self, height: int, width: int) -> Tensor:
        return self.chosen


def draw_batch(
    latents: Latents,
    mode: Mode,
    weights: np.ndarray,
    positions: Positions,
    generator: np.random.Generator,
) -> tuple[Tensor, Tensor]:
    """A batch of sub-grids `(B, 16, 2 tokens, 2 tokens)` with the numbers of their pictures.

    All of a batch share their place, as the transformer adds one table to the whole batch.
    """
    pictures = latents[mode.side]
    chosen = generator.choice(len(pictures), mode.batch, replace=False, p=weights)
    canvas = mode.side // 32
    free = canvas - (mode.tokens - 1) * mode.stride
    top, left = (int(generator.integers(free)) for _ in range(2))
    rows = slice(top, top + (mode.tokens - 1) * mode.stride + 1, mode.stride)
    columns = slice(left, left + (mode.tokens - 1) * mode.stride + 1, mode.stride)
    batch = []
    for i in chosen:
        z = pictures[i]
        y, x = ((n - 2 * canvas) // 2 for n in z.shape[1:])  # the central square
        z = z[:, y : y + 2 * canvas, x : x + 2 * canvas].unflatten(2, (-1, 2)).unflatten(1, (-1, 2))
        batch.append(z[:, rows][:, :, :, columns].flatten(3, 4).flatten(1, 2).float())
    margin = (CONFIG["pos_embed_max_size"] - canvas) // 2
    positions.choose(
        *(slice(part.start + margin, part.stop + margin, part.step) for part in (rows, columns))
    )
    return torch.stack(batch), torch.from_numpy(chosen)


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
    model = build_transformer()
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters", flush=True)
    positions = Positions(model)
    averages = {k: v.clone() for k, v in model.state_dict().items()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.99), weight_decay=0.01)
    photographs = {row["text"] for row in captions_of(PHOTOGRAPHS)}
    weights = np.array(
        [
            PHOTOGRAPH_WEIGHT if row["text"] in photographs else 1.0
            for row in captions_of(arguments.data)
        ]
    )
    weights /= weights.sum()
    objective = FlowMatching()
    steps, first = arguments.steps, 0
    state_path = out / "state.pt"
    if state_path.exists():
        state = torch.load(state_path, weights_only=True)
        first, averages = state["step"], state["averages"]
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    compiled = torch.compile(model, dynamic=False) if arguments.compile else model
    running: dict[str, float] = {}
    start = time.time()
    for step in range(first, steps):
        generator = np.random.default_rng([1, step])
        torch.manual_seed(step)
        late = step >= LATE * steps
        modes = LAST_MODES if step >= LAST * steps else LATE_MODES if late else MODES
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
            shift_sigma(torch.sigmoid(1.1 * torch.randn(len(x))), SHIFT[mode.side]),
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
            speed = (time.time() - start) / (step + 1 - first)
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
