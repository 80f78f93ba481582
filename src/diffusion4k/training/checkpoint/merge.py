"""A LoRA added to the weights it was made for: a model that needs neither PEFT nor a LoRA."""

from pathlib import Path
from typing import cast

import torch
from diffusers import ModelMixin

from diffusion4k.errors import UsageError
from diffusion4k.families import family_of, resolve
from diffusion4k.lora import FILE_NAME, check_adapter, load_adapter, merge_adapter, read_adapter
from diffusion4k.training.checkpoint.export import export_pipeline

__all__ = ["merge_lora"]


def merge_lora(lora: str | Path, model: str | Path, out: str | Path, *, scale: float = 1.0) -> Path:
    """Write the pipeline folder `out`: `model` with the LoRA's changes, times `scale`; `out`.

    Of a plain LoRA that is `W + scale * (alpha / rank) * B A`. Text encoders stay as they are.

    The transformer is float32, as sums in bfloat16 would lose most of a small change.

    Raises:
        UsageError: `out` is there already.
        Diffusion4kError: LoRA or model cannot be read, or do not belong together.
    """
    path = Path(out)
    if path.exists():
        raise UsageError(f"{path}: already exists: choose another name")
    folder = resolve(model)
    family, adapter = family_of(folder), read_adapter(lora)
    skeleton = family.transformer_skeleton(folder)
    check_adapter(adapter, family=family.name, model=str(model), transformer=skeleton, scale=scale)
    transformer = family.load_transformer(folder, dtype=torch.float32)
    load_adapter(transformer, adapter, scale)
    merge_adapter(transformer)
    named = adapter.path.parent if adapter.path.name == FILE_NAME else adapter.path
    card = (
        f"# {path.name}\n\nThe transformer of `{model}` with the LoRA `{named.name}` "
        f"merged into it at scale {scale:g}. The base model's licence holds for this one.\n"
    )
    return export_pipeline(
        path, base=folder, family=family, transformer=cast(ModelMixin, transformer), card=card
    )
