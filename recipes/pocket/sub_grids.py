"""The sub-grids of pictures that the pocket transformer learns, and their latents.

A batch is every s-th token of its pictures' latents, from a random place, and enters with the
position embeddings of its own places. Small s shows neighbours, large s the whole picture, and
either costs as little as a small image; all 128x128 positions of a 4096 px picture are learned so
(in the manner of Patch Diffusion, arXiv 2304.12526, and of training on a subset of tokens, arXiv
2306.09305).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import SD3Transformer2DModel
from pictures import captions_of, load_at_short_side, to_tensor
from safetensors.torch import load_file, save_file
from torch import Tensor

from diffusion4k.files import atomic_path
from diffusion4k.vae import load_autoencoder

CANVAS = 128  # tokens a side of the largest picture, 4096 px


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
# A transformer that is trained on, mostly for high resolution (--start).
ON_MODES = (
    Mode(512, 8, 2, 32, 0.10),
    Mode(512, 16, 1, 8, 0.20),
    Mode(1024, 16, 2, 8, 0.08),
    Mode(1024, 32, 1, 2, 0.26),
    Mode(4096, 8, 16, 32, 0.05),
    Mode(4096, 16, 8, 8, 0.05),
    Mode(4096, 32, 1, 2, 0.12),
    Mode(4096, 64, 2, 1, 0.05),
    Mode(4096, 64, 1, 1, 0.09),
)


def modes_at(step: int, steps: int) -> tuple[Mode, ...]:
    """Of a training from scratch."""
    if step >= LAST * steps:
        return LAST_MODES
    return LATE_MODES if step >= LATE * steps else MODES


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
        vae = load_autoencoder(self.vae_folder).eval()
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
    margin = (CANVAS - canvas) // 2
    positions.choose(
        *(slice(part.start + margin, part.stop + margin, part.step) for part in (rows, columns))
    )
    return torch.stack(batch), torch.from_numpy(chosen)
