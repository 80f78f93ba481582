"""Autoencoders from folders in diffusers layout: complete, or one line that says what is wrong."""

from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

from diffusion4k.errors import Diffusion4kError, one_line
from diffusion4k.support.bundled import AUTOENCODERS
from diffusion4k.support.text_files import json_of
from diffusion4k.vae.partitioned import PartitionedAutoencoderKL
from diffusion4k.vae.scale_consistent import ScaleConsistentAutoencoderKL

__all__ = ["load_autoencoder", "load_stock_autoencoder"]


def load_autoencoder(
    folder: str | Path, dtype: torch.dtype = torch.float32
) -> PartitionedAutoencoderKL:
    """The F=16 autoencoder in `folder`, or the stock F=8 one there converted to F=16.

    `pocket` and `pocket-f8` are the bundled ones.

    Raises:
        Diffusion4kError: no folder, another class, or absent, damaged or incomplete weights.
    """
    classes = (AutoencoderKL, PartitionedAutoencoderKL, ScaleConsistentAutoencoderKL)
    found = _load(folder, dtype, classes, "cannot run at F=16")
    if isinstance(found, PartitionedAutoencoderKL):
        return found
    return PartitionedAutoencoderKL.from_autoencoder(found)


def load_stock_autoencoder(folder: str | Path, dtype: torch.dtype = torch.float32) -> AutoencoderKL:
    """The stock F=8 autoencoder in `folder`, or the `PartitionedAutoencoderKL` there taken back.

    `pocket-f8` is the bundled one.

    Raises:
        Diffusion4kError: no folder, another class, or absent, damaged or incomplete weights.
    """
    classes = (AutoencoderKL, PartitionedAutoencoderKL)
    found = _load(folder, dtype, classes, "does not hold an F=8 autoencoder")
    return found.to_autoencoder() if isinstance(found, PartitionedAutoencoderKL) else found


def _load(name: str | Path, dtype: torch.dtype, classes: tuple[Any, ...], refusal: str) -> Any:
    folder = AUTOENCODERS.get(str(name), Path(name))
    path = folder / "config.json"
    try:
        kind = json_of(path.read_bytes())["_class_name"]
    except FileNotFoundError:
        raise Diffusion4kError(
            f"{path}: no such file: give the folder of an AutoencoderKL "
            f"(usually MODEL/vae), or a bundled one ({', '.join(AUTOENCODERS)})"
        ) from None
    except (ValueError, KeyError, TypeError):
        raise Diffusion4kError(f"{path}: not the config.json of a diffusers model") from None
    by_name = {each.__name__: each for each in classes}
    if kind not in by_name:
        raise Diffusion4kError(f"{path}: {kind} {refusal}; supported: {', '.join(by_name)}")
    try:
        autoencoder, loaded = by_name[kind].from_pretrained(
            folder,
            torch_dtype=dtype,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
        )
    except Diffusion4kError:
        raise
    except Exception as error:
        raise Diffusion4kError(f"{folder}: cannot be loaded: {one_line(error, 300)}") from error
    # diffusers fills absent weights with random numbers and only logs it.
    if missing := loaded["missing_keys"]:
        raise Diffusion4kError(
            f"{folder}: {len(missing)} weights are missing ({min(missing)}, ...)"
        )
    return autoencoder
