"""Assembles the trained parts into one diffusers folder of float16 safetensors.

    python recipes/pocket/export.py --runs runs/pocket --out src/diffusion4k/pocket/model

`--averages` takes the last saved weight average of a training that still runs.
"""

import argparse
import json
import math
import shutil
from pathlib import Path

import torch
from diffusers import (
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from train_transformer import CONFIG, ZERO_TOKENS
from transformers import CLIPTextModelWithProjection, CLIPTokenizer

from diffusion4k.files import write_text
from diffusion4k.vae import load_autoencoder

# The noise schedule is shifted more for larger pictures: by 1.8 at 512 px, by 5 at 4096 px.
SCHEDULER = {
    "use_dynamic_shifting": True,
    "base_image_seq_len": 256,
    "max_image_seq_len": 16384,
    "base_shift": math.log(1.8),
    "max_shift": math.log(5.0),
}
DEFAULTS = {
    "steps": 6,
    "guidance": 1.0,
    "width": 4096,
    "height": 4096,
    "max_sequence_length": ZERO_TOKENS,
}


def export(runs: Path, out: Path, transformer: str, autoencoder: str, *, averages: bool) -> None:
    trained = runs / transformer
    if averages:
        network = SD3Transformer2DModel(**CONFIG)
        state = torch.load(trained / "state.pt", weights_only=True)
        network.load_state_dict(state["averages"])
        print("step", state["step"])
    else:
        network = SD3Transformer2DModel.from_pretrained(trained / "final")
    text = {}
    for suffix in ("", "_2"):
        folder = runs / "text"
        text[f"tokenizer{suffix}"] = CLIPTokenizer.from_pretrained(folder / f"tokenizer{suffix}")
        text[f"text_encoder{suffix}"] = CLIPTextModelWithProjection.from_pretrained(
            folder / f"text_encoder{suffix}"
        )
    vae = load_autoencoder(runs / autoencoder)
    pipeline = StableDiffusion3Pipeline(
        transformer=network,
        vae=vae,
        text_encoder_3=None,
        tokenizer_3=None,
        scheduler=FlowMatchEulerDiscreteScheduler(**SCHEDULER),
        **text,
    ).to(torch.float16)
    temporary = out.with_name(out.name + ".part")
    shutil.rmtree(temporary, ignore_errors=True)
    pipeline.save_pretrained(temporary)
    write_text(temporary / "diffusion4k.json", json.dumps(DEFAULTS, indent=2) + "\n")
    card = out / "README.md"
    if card.exists():
        shutil.copy(card, temporary / "README.md")
    shutil.rmtree(out, ignore_errors=True)
    temporary.rename(out)
    total = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    print(f"{out}: {total / 1e6:.1f} MB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, default=Path("runs/pocket"))
    parser.add_argument("--out", type=Path, default=Path("src/diffusion4k/pocket/model"))
    parser.add_argument("--transformer", default="transformer_more", help="folder in --runs")
    parser.add_argument("--averages", action="store_true")
    parser.add_argument("--autoencoder", default="vae_decoder/vae", help="folder in --runs")
    arguments = parser.parse_args()
    export(
        arguments.runs,
        arguments.out,
        arguments.transformer,
        arguments.autoencoder,
        averages=arguments.averages,
    )
