"""Networks of transformers' own classes, tiny and random, saved as their authors publish them."""

import itertools
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import CLIPConfig, CLIPModel, Dinov2Config, Dinov2Model

from benchmarks.tiny import tiny_tokenizer

__all__ = ["WIDTH", "photo_like", "tiny_aesthetics", "tiny_clip_folder", "tiny_dino_folder"]

WIDTH = 16
_LAYERS = {
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
}


def tiny_clip_folder(folder: Path, *, seed: int = 0, eos: int | None = None) -> str:
    """CLIP on pictures of 32x32 with embeddings of 16 numbers; `eos` as the config has it."""
    tokenizer = tiny_tokenizer()
    text = _LAYERS | {"vocab_size": len(tokenizer), "max_position_embeddings": 77}
    text |= {"eos_token_id": tokenizer.eos_token_id if eos is None else eos}
    vision = _LAYERS | {"image_size": 32, "patch_size": 8}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=WIDTH)
        CLIPModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def tiny_dino_folder(folder: Path) -> str:
    """DINOv2 with 32 features, trained at 4x4 patches."""
    with torch.random.fork_rng():
        torch.manual_seed(2)
        config = Dinov2Config(
            hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=56, patch_size=14
        )
        Dinov2Model(config).save_pretrained(folder)
    return str(folder)


def tiny_aesthetics(path: Path) -> torch.nn.Module:
    """LAION's architecture, but narrow; its weights are in `path` as they publish them."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        linear = [torch.nn.Linear(*pair) for pair in itertools.pairwise((WIDTH, 24, 12, 8, 4, 1))]
    drop = torch.nn.Dropout(0.2)
    layers = torch.nn.Sequential(linear[0], drop, linear[1], drop, linear[2], drop, *linear[3:])
    torch.save({f"layers.{name}": value for name, value in layers.state_dict().items()}, path)
    return layers.eval()


def photo_like(seed: int, width: int = 96, height: int = 64) -> Image.Image:
    """Coarse coloured shapes with some detail, as unlike any other seed's as can be."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (8, 12, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))
    noisy = smooth + random.normal(0, 12, (height, width, 3))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
