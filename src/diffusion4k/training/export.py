"""The result of a run: a whole pipeline folder that plain diffusers loads.

The trained transformer in float32 (a learning rate of 1e-6 moves weights by less than bfloat16
can tell apart) and, unchanged, every other part of the base model; an F=8 autoencoder is stored as
the F=16 one, so that the stock pipeline makes images of the right size.
"""

import json
import shutil
from pathlib import Path
from typing import cast

import torch
import yaml
from diffusers import ModelMixin

from diffusion4k.families import Family
from diffusion4k.files import write_text
from diffusion4k.training.checkpoint import atomic_folder
from diffusion4k.training.recipe import Recipe

__all__ = ["export_pipeline", "versions"]

F16 = "PartitionedAutoencoderKL"
F8 = "AutoencoderKL"


def versions() -> dict[str, str]:
    """Versions of what decides about the numbers of a run."""
    from importlib.metadata import version

    return {name: version(name) for name in ("diffusion4k", "torch", "diffusers", "accelerate")}


def export_pipeline(
    path: Path,
    *,
    base: Path,
    family: Family,
    transformer: ModelMixin,
    recipe: Recipe,
    validation_loss: float | None,
) -> Path:
    """Write the pipeline folder `path`, wholly or not at all; weights of `base` are copied."""
    index = json.loads((base / "model_index.json").read_text(encoding="utf-8"))
    with atomic_folder(path) as folder:
        for name, entry in index.items():
            converted = name == "vae" and entry[1] == F8
            if isinstance(entry, list) and entry[0] and name != "transformer" and not converted:
                shutil.copytree(base / name, folder / name)
        if (base / "diffusion4k.json").exists():
            shutil.copy2(base / "diffusion4k.json", folder)
        transformer.save_pretrained(folder / "transformer")
        _forget_origin(folder / "transformer" / "config.json")
        if index["vae"][1] == F8:
            autoencoder = cast(ModelMixin, family.load_autoencoder(base, dtype=torch.float32))
            autoencoder.save_pretrained(folder / "vae")
            index["vae"] = ["diffusion4k", F16]
        write_text(folder / "model_index.json", json.dumps(index, indent=2) + "\n")
        write_text(folder / "README.md", _model_card(recipe, family.factor, validation_loss))
    return path


def _forget_origin(config: Path) -> None:
    # diffusers notes the folder that the weights came from: a checkpoint after a resume, so that
    # the same model would not have the same content.
    content = json.loads(config.read_text(encoding="utf-8"))
    content.pop("_name_or_path", None)
    write_text(config, json.dumps(content, indent=2) + "\n")


def _model_card(recipe: Recipe, factor: int, validation_loss: float | None) -> str:
    header = {"library_name": "diffusers", "pipeline_tag": "text-to-image"}
    if "/" in recipe.model and not Path(recipe.model).exists():
        header["base_model"] = recipe.model
    measured = validation_loss is not None
    loss = f"\nValidation loss at the end: {validation_loss:.6g}.\n" if measured else ""
    listed = "\n".join(f"- {name} {version}" for name, version in versions().items())
    return f"""---
{yaml.safe_dump(header, sort_keys=False)}---

# {recipe.output.name}

The transformer of `{recipe.model}`, fine-tuned for {recipe.steps} steps with the objective
`{recipe.objective.name}` on {recipe.resolution} px pictures (crops
{recipe.crop_size[0]}x{recipe.crop_size[1]}), seed {recipe.seed}\
{", averaged over steps" if recipe.ema else ""}. All other parts are the base model's own; the
autoencoder runs at F={factor}. The base model's licence holds for this one.
{loss}
```python
import diffusion4k  # for the class of an F=16 autoencoder
from diffusers import DiffusionPipeline

pipeline = DiffusionPipeline.from_pretrained("path/to/this/folder")
```

## Recipe

```yaml
{recipe.as_yaml()}```

## Versions

{listed}
"""
