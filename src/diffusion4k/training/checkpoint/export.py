"""The result of a run: a pipeline folder that plain diffusers loads, or adapters that it loads.

The trained transformer in float32 (a learning rate of 1e-6 moves weights by less than bfloat16
can tell apart) and, unchanged, every other part of the base model; an F=8 autoencoder is stored as
the F=16 one, so that the stock pipeline makes images of the right size.
"""

import json
import shutil
from pathlib import Path
from typing import cast

import torch
from diffusers import ModelMixin
from torch import nn

from diffusion4k.families import Family
from diffusion4k.families.base import SETTINGS
from diffusion4k.lora import write_adapter
from diffusion4k.models.folder import (
    component_folder,
    components_of,
    model_index,
)
from diffusion4k.support.files import write_text
from diffusion4k.support.folders import atomic_folder
from diffusion4k.support.text_files import json_of
from diffusion4k.support.versions import versions

__all__ = ["export_adapter", "export_pipeline", "forget_origin"]

F16 = "PartitionedAutoencoderKL"
F8 = "AutoencoderKL"


def export_pipeline(
    path: Path,
    *,
    base: Path,
    family: Family,
    transformer: ModelMixin,
    card: str,
    drafted_by: str | None = None,
    first_stage: int | None = None,
) -> Path:
    """Write the pipeline folder `path`, wholly or not at all; other parts of `base` are copied.

    Stages of `base` below `first_stage` pixels are left to the model named `drafted_by`.
    """
    index = model_index(base)
    with atomic_folder(path) as folder:
        for name in components_of(base):
            converted = name == "vae" and index[name][1] == F8
            if name != "transformer" and not converted:
                shutil.copytree(component_folder(base, name), folder / name)
        settings = family.settings(base)
        for stage in settings.get("stages", []):
            if first_stage and stage["side"] < first_stage:
                stage["model"] = drafted_by
        if settings:
            write_text(folder / SETTINGS, json.dumps(settings, indent=2) + "\n")
        transformer.save_pretrained(folder / "transformer")
        forget_origin(folder / "transformer" / "config.json")
        if index["vae"][1] == F8:
            autoencoder = cast(ModelMixin, family.load_autoencoder(base, dtype=torch.float32))
            autoencoder.save_pretrained(folder / "vae")
            index["vae"] = ["diffusion4k", F16]
        write_text(folder / "model_index.json", json.dumps(index, indent=2) + "\n")
        write_text(folder / "README.md", card)
    return path


def export_adapter(
    path: Path, transformer: nn.Module, *, card: str, made_for: dict[str, str]
) -> Path:
    """Write the transformer's adapters to the folder `path` for diffusers, wholly or not at all."""
    with atomic_folder(path) as folder:
        write_adapter(folder, transformer, made_for | {"versions": json.dumps(versions())})
        write_text(folder / "README.md", card)
    return path


def forget_origin(config: Path) -> None:
    """Remove from a `config.json` the folder that the weights came from, which diffusers notes.

    After a resume it is a checkpoint: the same model would not have the same content.
    """
    content = json_of(config.read_text(encoding="utf-8"))
    content.pop("_name_or_path", None)
    write_text(config, json.dumps(content, indent=2) + "\n")
