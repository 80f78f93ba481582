"""What a LoRA's file changes in diffusers' layers, by hand; nothing of the package is used."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

W = 32  # the width of both small models
RANK = 3
Weights = dict[str, Tensor]
Deltas = dict[str, Tensor]


@dataclass
class Case:
    """One file: its tensors, header, and the difference of each of diffusers' parameters.

    A difference may be a function of the weight, as DoRA's is.
    """

    family: str
    tensors: Weights
    deltas: dict[str, Tensor | Callable[[Tensor], Tensor]]
    metadata: dict[str, str] = field(default_factory=dict)
    name: str = "lora.safetensors"
    beside: dict[str, Any] = field(default_factory=dict)

    def write(self, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {key: value.contiguous() for key, value in self.tensors.items()}
        save_file(tensors, folder / self.name, self.metadata)
        for name, content in self.beside.items():
            (folder / name).write_text(json.dumps(content))
        return folder / self.name


def pair(out: int, inner: int, rank: int = RANK) -> tuple[Tensor, Tensor]:
    return torch.randn(rank, inner), torch.randn(out, rank)


SD3_OURS = {
    "transformer_blocks.0.attn.to_q": (W, W),
    "transformer_blocks.1.attn.to_out.0": (W, W),
    "transformer_blocks.0.attn.add_v_proj": (W, W),
    "transformer_blocks.1.ff.net.0.proj": (4 * W, W),
    "transformer_blocks.0.ff_context.net.2": (W, 4 * W),
}
FLUX_OURS = {
    "transformer_blocks.0.attn.to_q": (W, W),
    "transformer_blocks.0.attn.to_add_out": (W, W),
    "transformer_blocks.1.ff.net.2": (W, 4 * W),
    "single_transformer_blocks.1.proj_mlp": (4 * W, W),
    "single_transformer_blocks.0.proj_out": (W, 5 * W),
    "proj_out": (16, W),
}
FLUX_THEIRS = {
    "double_blocks.1.img_attn.qkv": (3 * W, W),
    "double_blocks.0.txt_attn.qkv": (3 * W, W),
    "double_blocks.0.img_attn.proj": (W, W),
    "double_blocks.0.txt_mlp.2": (W, 4 * W),
    "double_blocks.1.img_mod.lin": (6 * W, W),
    "single_blocks.0.linear1": (7 * W, W),
    "single_blocks.1.linear2": (W, 5 * W),
    "single_blocks.1.modulation.lin": (3 * W, W),
    "final_layer.adaLN_modulation.1": (2 * W, W),
    "final_layer.linear": (16, W),
    "vector_in.in_layer": (W, 32),
}
SD3_THEIRS = {
    "joint_blocks.1.x_block.attn.qkv": (3 * W, W),
    "joint_blocks.0.context_block.attn.qkv": (3 * W, W),
    "joint_blocks.0.context_block.attn.proj": (W, W),
    "joint_blocks.0.x_block.mlp.fc1": (4 * W, W),
    "joint_blocks.0.context_block.adaLN_modulation.1": (6 * W, W),
    "joint_blocks.1.context_block.adaLN_modulation.1": (2 * W, W),
    "final_layer.adaLN_modulation.1": (2 * W, W),
    "context_embedder": (W, 64),
}


def in_our_names(deltas: Deltas) -> Deltas:
    """Differences of original layers as those of diffusers' layers."""
    found: Deltas = {}
    for layer, delta in deltas.items():
        stem, *rest = layer.split(".")
        block = rest[0] if rest else ""
        joint, double, single = (
            f"{kind}transformer_blocks.{block}." for kind in ("", "", "single_")
        )
        queries = ("attn.to_q", "attn.to_k", "attn.to_v")
        added = ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj")
        last = layer == "joint_blocks.1.context_block.adaLN_modulation.1"
        if layer == "final_layer.adaLN_modulation.1":
            found["norm_out.linear"] = torch.cat([delta[W:], delta[:W]])
        elif last:
            name = "transformer_blocks.1.norm1_context.linear"
            found[name] = torch.cat([delta[W:], delta[:W]])
        elif stem == "single_blocks" and rest[1] == "linear1":
            names = (*queries, "proj_mlp")
            rows = delta.split([W, W, W, 4 * W])
            found |= {single + name: part for name, part in zip(names, rows, strict=True)}
        elif rest[-1:] == ["qkv"]:
            names = added if rest[1].startswith(("txt", "context")) else queries
            found |= {joint + n: part for n, part in zip(names, delta.chunk(3), strict=True)}
        else:
            plain = {
                f"double_blocks.{block}.img_attn.proj": double + "attn.to_out.0",
                f"double_blocks.{block}.txt_mlp.2": double + "ff_context.net.2",
                f"double_blocks.{block}.img_mod.lin": double + "norm1.linear",
                f"single_blocks.{block}.linear2": single + "proj_out",
                f"single_blocks.{block}.modulation.lin": single + "norm.linear",
                f"joint_blocks.{block}.context_block.attn.proj": joint + "attn.to_add_out",
                f"joint_blocks.{block}.x_block.mlp.fc1": joint + "ff.net.0.proj",
                f"joint_blocks.{block}.context_block.adaLN_modulation.1": joint
                + "norm1_context.linear",
                "final_layer.linear": "proj_out",
                "vector_in.in_layer": "time_text_embed.text_embedder.linear_1",
                "context_embedder": "context_embedder",
            }
            found[plain[layer]] = delta
    return found


def parameters(deltas: Deltas) -> dict[str, Tensor | Callable[[Tensor], Tensor]]:
    return {f"{layer}.weight": delta for layer, delta in deltas.items()}
