"""Puts the trained parts together: `pocket` is a whole pipeline, `pocket-base` a transformer.

    python recipes/pocket/export.py --base runs/pocket/transformer/final \\
        --text runs/pocket/text --autoencoder runs/pocket/vae_decoder/vae

Without --tuned the whole pipeline gets the base's transformer, for the fine-tuning to start from.
Weights are stored in float16.
"""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from train_transformer import CONFIG, ZERO_TOKENS
from transformers import CLIPTextModelWithProjection, CLIPTokenizer

from diffusion4k.support.files import write_text
from diffusion4k.training.checkpoint.checkpoint import atomic_folder
from diffusion4k.training.checkpoint.export import forget_origin
from diffusion4k.vae import load_autoencoder

SHIFT = 1.8  # of the noise schedule of the draft
STAGES = [
    {"side": 512, "steps": 20},
    {"side": 1024, "steps": 10, "strength": 0.5, "window": 32},
    {
        "side": 4096,
        "steps": 10,
        "strength": 0.5,
        "window": 32,
        "solver": "dpm++",
        "low_bands": "replaced",
        "further_levels": 2,
        "wavelet": "bior4.4",
    },
]
DEFAULTS = {
    "steps": 8,
    "guidance": 1.0,
    "width": 4096,
    "height": 4096,
    "max_sequence_length": ZERO_TOKENS,
    "max_memory": "256MiB",
    "stages": STAGES,
}


def load_transformer(folder: Path) -> SD3Transformer2DModel:
    """A finished transformer, or the averages of a training that is not finished."""
    if (folder / "config.json").exists():
        return SD3Transformer2DModel.from_pretrained(folder)
    network = SD3Transformer2DModel(**CONFIG)
    state = torch.load(folder / "state.pt", map_location="cpu", weights_only=True)
    network.load_state_dict(state["averages"])
    print("averages of step", state["step"])
    return network


def export(base: Path, tuned: Path | None, text: Path, autoencoder: Path, out: Path) -> None:
    """Replace `out/model` and `out/base`; model cards stay."""
    parts = {}
    for suffix in ("", "_2"):
        parts[f"tokenizer{suffix}"] = CLIPTokenizer.from_pretrained(text / f"tokenizer{suffix}")
        parts[f"text_encoder{suffix}"] = CLIPTextModelWithProjection.from_pretrained(
            text / f"text_encoder{suffix}"
        )
    pipeline = StableDiffusion3Pipeline(
        transformer=load_transformer(tuned or base),
        vae=load_autoencoder(autoencoder),
        text_encoder_3=None,
        tokenizer_3=None,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=SHIFT),
        **parts,
    ).to(torch.float16)
    with atomic_folder(out / "model") as folder:
        _keep_card(out / "model", folder)
        pipeline.save_pretrained(folder)
        for config in folder.glob("*/config.json"):
            forget_origin(config)
        own = (
            DEFAULTS | {"stages": [_left_to_base(stage) for stage in STAGES]} if tuned else DEFAULTS
        )
        write_text(folder / "diffusion4k.json", json.dumps(own, indent=2) + "\n")
    with atomic_folder(out / "base") as folder:
        _keep_card(out / "base", folder)
        load_transformer(base).half().save_pretrained(folder / "transformer")
        forget_origin(folder / "transformer" / "config.json")
        settings = {"parts_from": "../model"} | DEFAULTS
        write_text(folder / "diffusion4k.json", json.dumps(settings, indent=2) + "\n")
    total = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    print(f"{out}: {total / 1e6:.1f} MB")


def _left_to_base(stage: dict[str, Any]) -> dict[str, Any]:
    """A stage of the fine-tuned model: it makes those above 1024 pixels by itself."""
    return stage if stage["side"] > 1024 else stage | {"model": "pocket-base"}


def _keep_card(folder: Path, new: Path) -> None:
    """The model card, which is written by hand, outlives the folder that is replaced."""
    card = folder / "README.md"
    if card.exists():
        shutil.copy(card, new / card.name)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", type=Path, default=Path("runs/pocket/transformer/final"))
    parser.add_argument("--tuned", type=Path, help="transformer folder of the fine-tuned model")
    parser.add_argument("--text", type=Path, default=Path("runs/pocket/text"))
    parser.add_argument("--autoencoder", type=Path, default=Path("runs/pocket/vae_decoder/vae"))
    parser.add_argument("--out", type=Path, default=Path("src/diffusion4k/pocket"))
    a = parser.parse_args()
    export(a.base, a.tuned, a.text, a.autoencoder, a.out)
