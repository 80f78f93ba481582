"""A family small enough to be worked out by hand, on a model folder of real layout.

Latents are means of 16x16 pixels times a weight from the folder's `vae`; the conditioning is drawn
from the caption's hash. Calls are counted; both kinds of models may never be in memory at once.
"""

import json
import time
import weakref
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from diffusion4k.data.folder import Photo, read_folder


class Family:
    """Implements what the cache asks of `families.base.Family`."""

    name = "fake"
    factor = 16
    has_posterior = False
    given_text_tokens = None

    def __init__(self, seconds: float = 0.0) -> None:
        self.calls: list[str] = []
        self.captions: list[str] = []
        self._seconds = seconds
        self._encoders: Any = lambda: None

    @property
    def images(self) -> int:
        return self.calls.count("image")

    def load_text_encoders(self, model: Path, *, dtype: torch.dtype) -> nn.Module:
        self.calls.append("load text")
        encoders = nn.Linear(1, 1)
        self._encoders = weakref.ref(encoders)
        return encoders

    def encode_text(self, encoders: nn.Module, captions: list[str]) -> dict[str, Tensor]:
        self.captions += captions
        states = [np.random.default_rng(zlib.crc32(c.encode())) for c in captions]
        embeds = [torch.from_numpy(state.standard_normal((5, 8))).float() for state in states]
        return {
            "prompt_embeds": torch.stack(embeds),
            "mask": torch.tensor([[len(caption)] * 5 for caption in captions]),
        }

    def load_autoencoder(self, model: Path, *, dtype: torch.dtype) -> nn.Module:
        assert self._encoders() is None, "text encoders are still in memory"
        self.calls.append("load image")
        module = nn.Module()
        module.weight = nn.Parameter(load_file(model / "vae" / "model.safetensors")["weight"])
        return module

    def encode_images(self, autoencoder: nn.Module, images: Tensor) -> Tensor:
        time.sleep(self._seconds)
        self.calls.append("image")
        assert not torch.is_grad_enabled()
        pooled = nn.functional.avg_pool2d(images, 16)
        return torch.einsum("oc,bchw->bohw", autoencoder.weight, pooled)

    def decode_latents(self, autoencoder: nn.Module, latents: Tensor) -> Tensor:
        return nn.functional.interpolate(latents[:, :3], scale_factor=16.0)


def make_model(folder: Path) -> Path:
    """A model folder in diffusers layout with a text encoder, a tokenizer and an autoencoder."""
    weights = {"weight": torch.linspace(-1, 1, 12).reshape(4, 3)}
    for part in ("vae", "text_encoder", "tokenizer", "transformer"):
        (folder / part).mkdir(parents=True)
        (folder / part / "config.json").write_text(json.dumps({"_class_name": part}))
        save_file(weights, folder / part / "model.safetensors")
    index = {"_class_name": "FakePipeline"}
    index |= {part: ["diffusers", part] for part in ("vae", "text_encoder", "tokenizer")}
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def make_folder(folder: Path, sizes: list[tuple[int, int]]) -> Path:
    """An image folder of smooth random PNG photographs."""
    folder.mkdir(parents=True, exist_ok=True)
    captions = []
    for number, size in enumerate(sizes):
        save_picture(folder / f"{number}.png", size, seed=number)
        captions.append({"file_name": f"{number}.png", "text": f"photograph {number}"})
    write_metadata(folder, captions)
    return folder


def picture(size: tuple[int, int], seed: int = 0) -> Image.Image:
    """A smooth random RGB picture."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def save_picture(path: Path, size: tuple[int, int], seed: int = 0) -> None:
    picture(size, seed).save(path)


def write_metadata(folder: Path, rows: list[dict[str, str]]) -> None:
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "metadata.jsonl").write_text(lines, encoding="utf-8")


def photos_of(folder: Path) -> list[Photo]:
    return read_folder(folder)
