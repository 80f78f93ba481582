"""The model card of a result: what it is, how it came about, how to load it."""

import inspect
from pathlib import Path

import yaml

from diffusion4k.families import Family
from diffusion4k.families.base import model_settings
from diffusion4k.lora import FILE_NAME
from diffusion4k.models.folder import model_index
from diffusion4k.support.versions import versions
from diffusion4k.training.recipe.own_parts import codes_of
from diffusion4k.training.recipe.recipe import Recipe

__all__ = ["model_card"]


def model_card(recipe: Recipe, family: Family, model: Path, validation_loss: float | None) -> str:
    """README.md of the result of a run, in the hub's form.

    `model` is the folder of the model that was trained, of the family `family`.
    """
    header = {"library_name": "diffusers", "pipeline_tag": "text-to-image"}
    if "/" in recipe.model and not Path(recipe.model).exists():
        header["base_model"] = recipe.model
    measured = validation_loss is not None
    loss = f"\nValidation loss at the end: {validation_loss:.6g}.\n" if measured else ""
    listed = "\n".join(f"- {name} {version}" for name, version in versions().items())
    what, usage = _adapter(recipe, family) if recipe.lora else _pipeline(recipe, family, model)
    return f"""---
{yaml.safe_dump(header, sort_keys=False)}---

# {recipe.output.name}

{what} for {recipe.steps} steps with the objective
`{recipe.objective.label}` on {recipe.resolution} px pictures (crops
{recipe.crop_size[0]}x{recipe.crop_size[1]}), seed {recipe.seed}\
{", averaged over steps" if recipe.ema else ""}. The base model's licence holds for this one.
{loss}
{usage}
## Recipe

```yaml
{recipe.as_yaml()}```

## Versions

{listed}
{_own_code(recipe)}"""


def _own_code(recipe: Recipe) -> str:
    """What of the objective is in none of these packages, and cannot be had from the model."""
    codes = "\n".join(
        f"- `{name}`, file {digest or '?'}" for name, digest in codes_of(recipe).items()
    )
    if not codes:
        return ""
    return f"""
## Code of its own

Named in the recipe, but not part of this folder (first digits of each file's SHA-256):

{codes}
"""


def _pipeline(recipe: Recipe, family: Family, model: Path) -> tuple[str, str]:
    what = f"""All parts but the transformer are those of `{recipe.model}`; the autoencoder runs at
F={family.factor}. The transformer was fine-tuned"""
    defaults = family.defaults(model)
    width, height = recipe.crop_size
    tokens = model_settings(model).get("max_sequence_length", family.given_text_tokens)
    options = {
        "num_inference_steps": defaults.steps,
        "guidance_scale": defaults.guidance,
        "width": width,
        "height": height,
        **({"max_sequence_length": tokens} if tokens else {}),
    }
    absent = "".join(f", {name}=None" for name in _absent(model))
    called = "".join(f"    {name}={value},\n" for name, value in options.items())
    usage = f"""In plain diffusers (on a CPU with `torch.float32`; one dtype for all parts):

```python
import diffusion4k  # for the class of an F=16 autoencoder
import torch
from diffusers import DiffusionPipeline

pipeline = DiffusionPipeline.from_pretrained(
    "path/to/this/folder", torch_dtype=torch.bfloat16{absent}
)
image = pipeline(
    "a harbour in the evening",
{called}).images[0]
image.save("image.png")
```

`diffusion4k generate "a harbour in the evening" --model path/to/this/folder` makes larger images in
less memory{", and the stages that this model is trained for" if recipe.stage else ""}.
"""
    return what, usage


def _absent(model: Path) -> list[str]:
    """Parts that the pipeline's class asks for and the model does not have, such as SD3's T5."""
    import diffusers

    index = model_index(model)
    wanted = inspect.signature(getattr(diffusers, index["_class_name"]).__init__).parameters
    there = {name for name, entry in index.items() if isinstance(entry, list) and entry[0]}
    return [
        name
        for name, parameter in wanted.items()
        if name != "self" and parameter.default is parameter.empty and name not in there
    ]


def _adapter(recipe: Recipe, family: Family) -> tuple[str, str]:
    assert recipe.lora
    what = f"""{recipe.lora.label} for the transformer of `{recipe.model}` with its
autoencoder at F={family.factor} (`{FILE_NAME}`). It was trained"""
    usage = "`diffusion4k generate PROMPT --model BASE --lora path/to/this/folder` takes it.\n"
    if recipe.lora.kind == "lokr":
        usage += "\nIt has LyCORIS' layout; diffusers loads no LoKr.\n"
    else:
        usage = f"""```python
pipeline.load_lora_weights("path/to/this/folder")  # of the base model's pipeline
```

{usage}"""
    return what, usage
