"""LoRA files as other programs write them, and what each changes.

Names are those of the programs' public descriptions and files; nothing of the package is used.
"""

import json
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tests.lora.reference import (
    FLUX_OURS,
    FLUX_THEIRS,
    RANK,
    SD3_OURS,
    SD3_THEIRS,
    Case,
    W,
    in_our_names,
    pair,
    parameters,
)


def _lora(keys: Callable[[str, str], str], layers: dict[str, tuple[int, int]], alphas: bool):
    """Tensors of layers `(out, in)`, and the difference of each: alpha / rank B A."""
    tensors, deltas = {}, {}
    for number, (layer, (out, inner)) in enumerate(layers.items()):
        rank = RANK + number % 2  # each layer has its own
        a, b = pair(out, inner, rank)
        alpha = 0.5 + number if alphas else rank
        tensors |= {keys(layer, "down"): a, keys(layer, "up"): b}
        if alphas:
            tensors[keys(layer, "alpha")] = torch.tensor(alpha)
        deltas[layer] = alpha / rank * b @ a
    return tensors, deltas


def _dotted(prefix: str, down: str = "lora_A.weight", up: str = "lora_B.weight"):
    ends = {"down": down, "up": up, "alpha": "alpha"}
    return lambda layer, part: f"{prefix}{layer}.{ends[part]}"


def _flat(prefix: str):
    key = _dotted(prefix, "lora_down.weight", "lora_up.weight")
    return lambda layer, part: key(layer.replace(".", "_"), part)


def _plain(family: str, keys: Callable[[str, str], str], layers: dict, alphas: bool) -> Case:
    tensors, deltas = _lora(keys, layers, alphas)
    return Case(family, tensors, parameters(deltas))


def _original(family: str, keys: Callable[[str, str], str], alphas: bool) -> Case:
    layers = FLUX_THEIRS if family == "flux" else SD3_THEIRS
    tensors, deltas = _lora(keys, layers, alphas)
    return Case(family, tensors, parameters(in_our_names(deltas)))


def diffusers_sd3() -> Case:
    return _plain("sd3", _dotted("transformer."), SD3_OURS, alphas=False)


def diffusers_with_alpha_in_the_header() -> Case:
    """Alpha and rank per layer stand in PEFT's configuration under diffusers' key."""
    case = _plain("flux", _dotted("transformer."), FLUX_OURS, alphas=False)
    ranks = {layer: RANK + number % 2 for number, layer in enumerate(FLUX_OURS)}
    said = {
        "r": RANK,
        "lora_alpha": 7,
        "target_modules": list(FLUX_OURS),
        "rank_pattern": {f"^{layer}": rank for layer, rank in ranks.items() if rank != RANK},
        "alpha_pattern": {"single_transformer_blocks.0.proj_out": 2.5},
    }
    case.metadata = {
        "format": "pt",
        "lora_adapter_metadata": json.dumps({f"transformer.{k}": v for k, v in said.items()}),
    }
    for layer, rank in ranks.items():
        alpha = 2.5 if layer == "single_transformer_blocks.0.proj_out" else 7
        case.deltas[f"{layer}.weight"] = case.deltas[f"{layer}.weight"] * alpha / rank
    return case


def diffusers_of_old() -> Case:
    keys = _dotted("transformer.", "lora.down.weight", "lora.up.weight")
    return _plain("sd3", keys, SD3_OURS, alphas=False)


def ai_toolkit() -> Case:
    """Half precision, and the program's name in the header."""
    case = _plain("flux", _dotted("transformer."), FLUX_OURS, alphas=False)
    for layer in FLUX_OURS:
        keys = [f"transformer.{layer}.lora_{side}.weight" for side in "AB"]
        a, b = (case.tensors[key].bfloat16() for key in keys)
        case.tensors |= dict(zip(keys, (a, b), strict=True))
        case.deltas[f"{layer}.weight"] = b.float() @ a.float()
    case.metadata = {"software": json.dumps({"name": "ai-toolkit"}), "version": "1.0"}
    return case


def peft() -> Case:
    """A folder of `save_pretrained`: alpha stands beside the weights."""
    case = _plain("sd3", _dotted("base_model.model."), SD3_OURS, alphas=False)
    ranks = {layer: RANK + number % 2 for number, layer in enumerate(SD3_OURS)}
    for layer, rank in ranks.items():
        case.deltas[f"{layer}.weight"] = case.deltas[f"{layer}.weight"] * 12 / rank
    case.name = "adapter_model.safetensors"
    config = {"peft_type": "LORA", "r": RANK, "lora_alpha": 12, "target_modules": list(SD3_OURS)}
    config["rank_pattern"] = {layer: rank for layer, rank in ranks.items() if rank != RANK}
    case.beside = {"adapter_config.json": config}
    return case


def peft_without_prefix() -> Case:
    return _plain("sd3", _dotted(""), SD3_OURS, alphas=False)


def kohya_flux() -> Case:
    return _original("flux", _flat("lora_unet_"), alphas=True)


def kohya_flux_divided() -> Case:
    """qkv trained in three parts: A's of all, B's blocks on the diagonal, as sd-scripts has it."""
    parts = [pair(W, W, 2) for _ in range(3)]
    layer = "lora_unet_double_blocks_0_img_attn_qkv"
    tensors = {
        f"{layer}.lora_down.weight": torch.cat([a for a, _ in parts]),
        f"{layer}.lora_up.weight": torch.block_diag(*(b for _, b in parts)),
        f"{layer}.alpha": torch.tensor(3.0),
    }
    names = (f"transformer_blocks.0.attn.to_{name}.weight" for name in "qkv")
    deltas = {name: 3 / 6 * b @ a for name, (a, b) in zip(names, parts, strict=True)}
    return Case("flux", tensors, {**deltas})


def kohya_sd3() -> Case:
    case = _original("sd3", _flat("lora_unet_"), alphas=True)
    a, b = pair(16, 16)
    layer = "lora_te1_text_model_encoder_layers_0_mlp_fc1"
    case.tensors |= {f"{layer}.lora_down.weight": a, f"{layer}.lora_up.weight": b}
    return case


def comfyui_flux() -> Case:
    return _original("flux", _dotted("diffusion_model."), alphas=True)


def comfyui_sd3() -> Case:
    return _original("sd3", _dotted("diffusion_model."), alphas=False)


def black_forest_labs() -> Case:
    """No prefix, and a bias of B, which is a difference of the layer's."""
    case = _original("flux", _dotted(""), alphas=False)
    bias = torch.randn(7 * W)
    case.tensors["single_blocks.0.linear1.lora_B.bias"] = bias
    for name, part in in_our_names({"single_blocks.0.linear1": bias}).items():
        case.deltas[f"{name}.bias"] = part
    return case


def xlabs() -> Case:
    layers = {
        "double_blocks.0.processor.qkv_lora1": ("double_blocks.0.img_attn.qkv", 3 * W, W),
        "double_blocks.0.processor.qkv_lora2": ("double_blocks.0.txt_attn.qkv", 3 * W, W),
        "double_blocks.1.processor.proj_lora1": ("double_blocks.1.img_attn.proj", W, W),
        "single_blocks.1.processor.proj_lora": ("single_blocks.1.linear2", W, 5 * W),
    }
    tensors, deltas = {}, {}
    for name, (layer, out, inner) in layers.items():
        a, b = pair(out, inner)
        tensors |= {f"{name}.down.weight": a, f"{name}.up.weight": b}
        deltas[layer] = b @ a
    a, b = pair(3 * W, W)
    name = "single_blocks.0.processor.qkv_lora"
    tensors |= {f"{name}.down.weight": a, f"{name}.up.weight": b}
    found = in_our_names(deltas)
    names = (f"single_transformer_blocks.0.attn.to_{each}" for each in "qkv")
    found |= dict(zip(names, (b @ a).chunk(3), strict=True))
    return Case("flux", tensors, parameters(found))


def onetrainer() -> Case:
    """With text encoders' parts and a bundled embedding."""
    case = _plain("flux", _flat("lora_transformer_"), FLUX_OURS, alphas=True)
    a, b = pair(16, 16)
    layer = "lora_te1_text_model_encoder_layers_0_self_attn_q_proj"
    case.tensors |= {f"{layer}.lora_down.weight": a, f"{layer}.lora_up.weight": b}
    case.tensors["bundle_emb.ohwx.clip_l"] = torch.randn(2, 16)
    return case


def lycoris_lokr() -> Case:
    """SimpleTuner's: one of both matrices whole, the other a product, or both whole."""
    first, second = "transformer_blocks_0_attn_to_q", "transformer_blocks_1_ff_net_0_proj"
    w1, a, b = torch.randn(4, 4), torch.randn(8, 2), torch.randn(2, 8)
    whole = torch.randn(8, 4), torch.randn(16, 8)
    tensors = {
        f"lycoris_{first}.lokr_w1": w1,
        f"lycoris_{first}.lokr_w2_a": a,
        f"lycoris_{first}.lokr_w2_b": b,
        f"lycoris_{first}.alpha": torch.tensor(3.0),
        f"lycoris_{second}.lokr_w1": whole[0],
        f"lycoris_{second}.lokr_w2": whole[1],
        f"lycoris_{second}.alpha": torch.tensor(1e9),  # of two whole ones it means nothing
    }
    deltas = {
        "transformer_blocks.0.attn.to_q.weight": 3 / 2 * torch.kron(w1, a @ b),
        "transformer_blocks.1.ff.net.0.proj.weight": torch.kron(*whole),
    }
    return Case("sd3", tensors, {**deltas})


def lycoris_lokr_of_a_fused_layer() -> Case:
    """Of qkv; of linear1, whose parts are no whole number of blocks."""
    tensors, deltas = {}, {}
    for layer, left, right in (
        ("double_blocks.0.img_attn.qkv", (6, 4), (16, 8)),
        ("single_blocks.1.linear1", (4, 4), (56, 8)),
    ):
        flat = f"lora_unet_{layer.replace('.', '_')}"
        w1, (a, b) = torch.randn(left), (torch.randn(right[0], 2), torch.randn(2, right[1]))
        tensors |= {f"{flat}.lokr_w1": w1, f"{flat}.lokr_w2_a": a, f"{flat}.lokr_w2_b": b}
        tensors[f"{flat}.alpha"] = torch.tensor(1.0)
        deltas[layer] = 1 / 2 * torch.kron(w1, a @ b)
    return Case("flux", tensors, parameters(in_our_names(deltas)))


def lycoris_loha() -> Case:
    tensors, deltas = {}, {}
    for layer in ("double_blocks.0.img_attn.qkv", "double_blocks.0.txt_mlp.2"):
        out, inner = FLUX_THEIRS[layer.replace("0.img_attn", "1.img_attn")]
        (b1, a1), (b2, a2) = pair(out, inner), pair(out, inner)
        flat = f"lora_unet_{layer.replace('.', '_')}"
        tensors |= {f"{flat}.hada_w1_a": a1, f"{flat}.hada_w1_b": b1}
        tensors |= {f"{flat}.hada_w2_a": a2, f"{flat}.hada_w2_b": b2}
        tensors[f"{flat}.alpha"] = torch.tensor(2.0)
        deltas[layer] = 2 / RANK * (a1 @ b1) * (a2 @ b2)
    return Case("flux", tensors, parameters(in_our_names(deltas)))


def _decomposed(delta: Tensor, magnitude: Tensor, axis: int) -> Callable[[Tensor], Tensor]:
    def change(weight: Tensor) -> Tensor:
        changed = weight + delta
        return changed * (magnitude / changed.norm(dim=axis, keepdim=True)) - weight

    return change


def dora_of_kohya() -> Case:
    """Rows' lengths of a fused layer, columns' of a plain one."""
    case = Case("flux", {}, {})
    layer, flat = "double_blocks.0.img_attn.qkv", "lora_unet_double_blocks_0_img_attn_qkv"
    (a, b), magnitude = pair(3 * W, W), torch.rand(3 * W, 1) + 0.5
    case.tensors |= {f"{flat}.lora_down.weight": a, f"{flat}.lora_up.weight": b}
    case.tensors |= {f"{flat}.alpha": torch.tensor(1.0), f"{flat}.dora_scale": magnitude}
    lengths = in_our_names({layer: magnitude})
    for name, delta in in_our_names({layer: 1 / RANK * b @ a}).items():
        case.deltas[f"{name}.weight"] = _decomposed(delta, lengths[name], 1)
    flat = "lora_unet_double_blocks_1_img_attn_proj"
    (a, b), columns = pair(W, W), torch.rand(1, W) + 0.5
    case.tensors |= {f"{flat}.lora_down.weight": a, f"{flat}.lora_up.weight": b}
    case.tensors |= {f"{flat}.alpha": torch.tensor(2.0), f"{flat}.dora_scale": columns}
    case.deltas["transformer_blocks.1.attn.to_out.0.weight"] = _decomposed(
        2 / RANK * b @ a, columns, 0
    )
    return case


def dora_of_peft() -> Case:
    (a, b), magnitude = pair(W, W), torch.rand(W) + 0.5
    layer = "transformer_blocks.0.attn.to_k"
    tensors = {
        f"base_model.model.{layer}.lora_A.weight": a,
        f"base_model.model.{layer}.lora_B.weight": b,
        f"base_model.model.{layer}.lora_magnitude_vector": magnitude,
    }
    change = _decomposed(b @ a, magnitude[:, None], 1)
    return Case("sd3", tensors, {f"{layer}.weight": change})


def full_difference() -> Case:
    """Of a fused layer's weight and bias, and of a norm."""
    weight, bias, norm = torch.randn(3 * W, W), torch.randn(3 * W), torch.randn(16)
    fused = "lora_unet_double_blocks_1_txt_attn_qkv"
    tensors = {
        f"{fused}.diff": weight,
        f"{fused}.diff_b": bias,
        "lora_unet_double_blocks_0_img_attn_norm_key_norm.diff": norm,
    }
    deltas: dict[str, Any] = {"transformer_blocks.0.attn.norm_k.weight": norm}
    for name, each in (("weight", weight), ("bias", bias)):
        parts = in_our_names({"double_blocks.1.txt_attn.qkv": each})
        deltas |= {f"{layer}.{name}": part for layer, part in parts.items()}
    return Case("flux", tensors, deltas)


CASES = (
    *(diffusers_sd3, diffusers_with_alpha_in_the_header, diffusers_of_old, ai_toolkit),
    *(peft, peft_without_prefix, kohya_flux, kohya_flux_divided, kohya_sd3, comfyui_flux),
    *(comfyui_sd3, black_forest_labs, xlabs, onetrainer, lycoris_lokr),
    *(lycoris_lokr_of_a_fused_layer, lycoris_loha, dora_of_kohya, dora_of_peft, full_difference),
)
