"""The windows of pictures that the pocket transformer learns, and their latents.

Every batch is 256 tokens or a few less, entered as a picture of its own at the middle of the table
of positions: a whole picture at 512 pixels, or a window of a larger one, cut at any latent. This is
what a crop of `diffusion4k train` is, and what a stage of `generate --stages` shows the network.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pictures import captions_of, to_tensor
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from diffusion4k.support.files import atomic_path
from diffusion4k.vae import load_autoencoder


@dataclass(frozen=True)
class Mode:
    """A kind of batch, drawn for `share` of the steps: whole pictures of one size in latents.

    A picture is reduced to cover `width` x `height`; `most` is the highest noise level it is seen
    at. `batch` is that of all processes together.
    """

    width: int
    height: int
    batch: int
    share: float
    most: float = 1.0

    def __str__(self) -> str:
        return f"{16 * self.width}x{16 * self.height}"


# All noise levels where the layout is decided; at 1024 px those from which a stage starts.
MODES = (
    Mode(32, 32, 32, 0.30),
    Mode(32, 24, 32, 0.05),
    Mode(24, 32, 32, 0.05),
    Mode(64, 64, 8, 0.60, most=0.85),
)


class Latents:
    """Normalised F=16 latents of all pictures for a mode, on the CPU.

    They are computed on `device` and stored at first use.
    """

    def __init__(self, data: Path, vae_folder: Path, out: Path, device: torch.device) -> None:
        self.data, self.vae_folder, self.out, self.device = data, vae_folder, out, device
        self.loaded: dict[str, list[Tensor]] = {}

    def __getitem__(self, mode: Mode) -> list[Tensor]:
        name = f"{mode.width}x{mode.height}"
        if name not in self.loaded:
            path = self.out / f"latents-{name}.safetensors"
            if not path.exists():
                self._encode(mode, path)
            stored = load_file(path)
            self.loaded[name] = [stored[str(i)] for i in range(len(stored))]
        return self.loaded[name]

    @torch.no_grad()
    def _encode(self, mode: Mode, path: Path) -> None:
        vae = load_autoencoder(self.vae_folder).eval().to(self.device)
        found = {}
        for i, row in enumerate(captions_of(self.data)):
            array = _picture(self.data / row["file_name"], mode)
            image = to_tensor(array[None].copy()).to(self.device)
            z = vae.encode(image.contiguous()).latent_dist.mode()[0]
            z = (z - vae.config.shift_factor) * vae.config.scaling_factor
            found[str(i)] = z.half().cpu().contiguous()
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            save_file(found, temporary)
        print(f"latents of {mode}: {len(found)} pictures", flush=True)


def _picture(path: Path, mode: Mode) -> np.ndarray:
    """The middle of the picture at the mode's shape, RGB uint8."""
    image = Image.open(path).convert("RGB")
    width, height = 16 * mode.width, 16 * mode.height
    scale = max(width / image.width, height / image.height)
    size = (round(image.width * scale), round(image.height * scale))
    array = np.asarray(image.resize(size, Image.Resampling.LANCZOS))
    top, left = (array.shape[0] - height) // 2, (array.shape[1] - width) // 2
    return array[top : top + height, left : left + width]


def draw_batch(
    latents: Latents, mode: Mode, count: int, weights: np.ndarray, generator: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """A batch `(count, 16, height, width)` with the numbers `(count,)` of its pictures."""
    chosen = generator.choice(len(weights), count, replace=False, p=weights)
    return torch.stack([latents[mode][i].float() for i in chosen]), torch.from_numpy(chosen)
