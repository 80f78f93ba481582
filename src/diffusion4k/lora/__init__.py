"""LoRA (Hu et al., arXiv 2106.09685): low-rank adapters in place of changing all weights.

A linear layer with weight `W` computes `W x + scale * (alpha / rank) * B A x`; only `A (rank, in)`
and `B (out, rank)` are trained. `file` reads and writes them in the layout that diffusers'
`load_lora_weights` takes, `adapter` puts them into a transformer and merges them.
"""

from diffusion4k.lora.adapter import (
    add_adapter,
    check_targets,
    linear_layers,
    load_adapter,
    merge_adapter,
)
from diffusion4k.lora.file import FILE_NAME, Adapter, check_adapter, read_adapter, write_adapter

__all__ = [
    "FILE_NAME",
    "Adapter",
    "add_adapter",
    "check_adapter",
    "check_targets",
    "linear_layers",
    "load_adapter",
    "merge_adapter",
    "read_adapter",
    "write_adapter",
]
