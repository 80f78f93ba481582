"""LoRA (Hu et al., arXiv 2106.09685) and its kin: adapters in place of changing all weights.

A linear layer with weight `W` computes `W x + scale * (alpha / rank) * B A x`; only `A (rank, in)`
and `B (out, rank)` are trained. `changes` says what a file changes in a layer, `layouts` how files
name it, `file` reads and `writing` writes them; `trainable` makes new ones; `adapter` puts those of
files into a transformer and merges them.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diffusion4k.lora.adapter import (
        check_targets,
        linear_layers,
        load_adapter,
        load_adapters,
        merge_adapter,
    )
    from diffusion4k.lora.check import check_adapter
    from diffusion4k.lora.file import FILE_NAME, Adapter, read_adapter
    from diffusion4k.lora.trainable import add_adapter, check_adapter_options
    from diffusion4k.lora.writing import write_adapter, write_layout

__all__ = [
    "FILE_NAME",
    "Adapter",
    "add_adapter",
    "check_adapter",
    "check_adapter_options",
    "check_targets",
    "linear_layers",
    "load_adapter",
    "load_adapters",
    "merge_adapter",
    "read_adapter",
    "write_adapter",
    "write_layout",
]

_WHERE = {
    **dict.fromkeys(("FILE_NAME", "Adapter", "read_adapter"), "file"),
    **dict.fromkeys(("write_adapter", "write_layout"), "writing"),
    "check_adapter": "check",
    **dict.fromkeys(("add_adapter", "check_adapter_options"), "trainable"),
}


def __getattr__(name: str) -> Any:
    # A look at a file's header need not wait for torch.
    if name in __all__:
        return getattr(importlib.import_module(f"{__name__}.{_WHERE.get(name, 'adapter')}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
