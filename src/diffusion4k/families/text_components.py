"""Text encoders and tokenizers of a model folder."""

import importlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from diffusion4k.families.component import check_vocabulary, loading
from diffusion4k.models.folder import component_folder

__all__ = ["is_tokenizer", "load_text_components", "padded_conditioning", "stock_class"]

_NO_LIMIT = 10**30  # tokens, as transformers has it


def is_tokenizer(component: str) -> bool:
    """Whether a component of this name is a tokenizer, and has no weights."""
    return component.startswith("tokenizer")


def stock_class(path: str) -> Any:
    """The class of a library by `library.Class`."""
    library, _, name = path.rpartition(".")
    return getattr(importlib.import_module(library), name)


def load_text_components(
    model: Path, classes: dict[str, str], load: Callable[[str], nn.Module], absent: Iterable[str]
) -> dict[str, Any]:
    """Text encoders and tokenizers by name; None for what is absent.

    Args:
        classes: `library.Class` of each component.
        load: gives the text encoder of a name.

    Raises:
        Diffusion4kError: a tokenizer that does not load, or knows words that its encoder does not.
    """
    parts: dict[str, Any] = dict.fromkeys(absent)
    for name, path in classes.items():
        if name in parts:
            continue
        if is_tokenizer(name):
            with loading(folder := component_folder(model, name)):
                parts[name] = stock_class(path).from_pretrained(folder, local_files_only=True)
        else:
            parts[name] = load(name)
    for name, tokenizer in parts.items():
        if is_tokenizer(name) and tokenizer is not None:
            encoder = parts[name.replace("tokenizer", "text_encoder")]
            config: Any = getattr(encoder, "config", None)
            if hasattr(config, "get_text_config"):  # of an encoder that reads images, too
                config = config.get_text_config()
            check_vocabulary(component_folder(model, name), tokenizer, config)
            # A tokenizer saved without its maximum claims 1e30 tokens, and would pad up to it.
            most = getattr(config, "max_position_embeddings", None)
            tokenizer.model_max_length = min(tokenizer.model_max_length, most or _NO_LIMIT)
    return parts


def padded_conditioning(texts: Sequence[Tensor], length: int) -> dict[str, Tensor]:
    """Embeddings `(n, D)` of texts as `prompt_embeds (B, length, D)`, and which are real."""
    mask = torch.tensor([[place < len(rows) for place in range(length)] for rows in texts])
    padded = [nn.functional.pad(rows, (0, 0, 0, length - len(rows))) for rows in texts]
    return {"prompt_embeds": torch.stack(padded), "prompt_mask": mask.to(padded[0].device)}
