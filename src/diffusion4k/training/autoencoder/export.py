"""The result of a run: the student's folder in diffusers layout, with a model card."""

from pathlib import Path

from diffusion4k.support.files import write_text
from diffusion4k.support.folders import atomic_folder
from diffusion4k.support.versions import versions
from diffusion4k.training.autoencoder.recipe import AutoencoderRecipe
from diffusion4k.training.autoencoder.validation import QUALITIES
from diffusion4k.vae import ScaleConsistentAutoencoderKL

__all__ = ["export_autoencoder"]


def export_autoencoder(
    path: Path,
    *,
    student: ScaleConsistentAutoencoderKL,
    recipe: AutoencoderRecipe,
    quality: dict[str, str] | None,
) -> Path:
    """Write the folder `path`, wholly or not at all; `quality` is the last validation's row."""
    with atomic_folder(path) as folder:
        student.save_pretrained(folder)
        write_text(folder / "README.md", _model_card(recipe, quality))
    return path


def _model_card(recipe: AutoencoderRecipe, quality: dict[str, str] | None) -> str:
    measured = ", ".join(f"{name} {float(quality[name]):.6g}" for name in QUALITIES if quality)
    measured = f"\nValidation at the end: {measured}.\n" if quality else ""
    listed = "\n".join(f"- {name} {version}" for name, version in versions().items())
    return f"""---
library_name: diffusers
---

# {recipe.output.name}

An F=16 autoencoder, trained for {recipe.steps} steps by scale consistency from the F=8 autoencoder
of `{recipe.model}` on crops of {recipe.crop[0]}x{recipe.crop[1]} pixels, seed {recipe.seed}\
{", averaged over steps" if recipe.ema else ""}. That model's licence holds for this one.
{measured}
```python
import diffusion4k  # its class
from diffusers import DiffusionPipeline

pipeline = DiffusionPipeline.from_pretrained("path/to/the/model")
pipeline.vae = diffusion4k.ScaleConsistentAutoencoderKL.from_pretrained("path/to/this/folder")
```

## Recipe

```yaml
{recipe.as_yaml()}```

## Versions

{listed}
"""
