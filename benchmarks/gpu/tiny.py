"""Published models made tiny: the same classes and layouts, with few and narrow layers."""

import json
from pathlib import Path
from typing import Any

__all__ = ["shrink"]

_TEXT = {"vocab_size": 99, "num_attention_heads": 2, "intermediate_size": 32}
_CLIP = _TEXT | {"hidden_size": 16, "num_hidden_layers": 1, "projection_dim": 16}
_BLOCKS = ["ResBlock"] * 5 + ["EfficientViTBlock"]
SIZES: dict[str, dict[str, Any]] = {
    "AutoencoderKL": {"block_out_channels": [8] * 4, "layers_per_block": 1, "norm_num_groups": 4},
    "AutoencoderDC": {
        "attention_head_dim": 4,
        "encoder_block_types": _BLOCKS,
        "decoder_block_types": _BLOCKS,
        "encoder_block_out_channels": [32] * 6,
        "decoder_block_out_channels": [32] * 6,
        "encoder_layers_per_block": [1] * 6,
        "decoder_layers_per_block": [1] * 6,
        "encoder_qkv_multiscales": [[]] * 5 + [[5]],
        "decoder_qkv_multiscales": [[]] * 5 + [[5]],
    },
    "AutoencoderKLFlux2": {
        **{"block_out_channels": [8] * 4, "layers_per_block": 1, "norm_num_groups": 4},
    },
    "AutoencoderKLQwenImage": {"base_dim": 8, "num_res_blocks": 1},
    "CLIPTextModel": _CLIP,
    "CLIPTextModelWithProjection": _CLIP,
    "T5EncoderModel": {
        **{"vocab_size": 99, "d_model": 64, "d_kv": 8, "d_ff": 32, "num_layers": 1},
        "num_heads": 2,
    },
    "Gemma2Model": _TEXT
    | {"hidden_size": 32, "num_hidden_layers": 1, "num_key_value_heads": 1, "head_dim": 16},
    "Qwen3Model": _TEXT
    | {"hidden_size": 32, "num_hidden_layers": 2, "num_key_value_heads": 1, "head_dim": 16},
    "SD3Transformer2DModel": {
        **{"num_layers": 2, "attention_head_dim": 16, "num_attention_heads": 2},
        **{"joint_attention_dim": 64, "caption_projection_dim": 32, "pooled_projection_dim": 32},
        "sample_size": 2,  # a window of one token, so that a tiny image has several
    },
    "FluxTransformer2DModel": {
        **{"num_layers": 1, "num_single_layers": 1, "attention_head_dim": 16},
        **{"num_attention_heads": 2, "joint_attention_dim": 64, "pooled_projection_dim": 16},
        "axes_dims_rope": [4, 4, 8],
    },
    "PixArtTransformer2DModel": {
        **{"num_layers": 2, "attention_head_dim": 8, "num_attention_heads": 2},
        **{"cross_attention_dim": 16, "caption_channels": 64},
    },
    "SanaTransformer2DModel": {
        **{"num_layers": 1, "num_attention_heads": 2, "attention_head_dim": 8},
        **{"num_cross_attention_heads": 2, "cross_attention_head_dim": 8},
        **{"cross_attention_dim": 16, "caption_channels": 32},
    },
    "Flux2Transformer2DModel": {
        **{"num_layers": 1, "num_single_layers": 1, "attention_head_dim": 16},
        **{"num_attention_heads": 2, "joint_attention_dim": 48, "axes_dims_rope": [4] * 4},
    },
    "QwenImageTransformer2DModel": {
        **{"num_layers": 2, "attention_head_dim": 16, "num_attention_heads": 2},
        **{"joint_attention_dim": 32, "axes_dims_rope": [4, 6, 6]},
    },
    "ErnieImageTransformer2DModel": {
        **{"hidden_size": 32, "num_attention_heads": 2, "num_layers": 2, "ffn_hidden_size": 32},
        **{"text_in_dim": 16, "rope_axes_dim": [4, 6, 6]},
    },
    "ZImageTransformer2DModel": {
        **{"dim": 32, "n_layers": 1, "n_refiner_layers": 1, "n_heads": 2, "n_kv_heads": 2},
        **{"cap_feat_dim": 32, "axes_dims": [4, 6, 6]},
    },
}


def shrink(folder: Path) -> None:
    """Make the configurations of a model folder tiny; classes that no part builds stay large."""
    index = json.loads((folder / "model_index.json").read_text())
    for component, named in index.items():
        path = folder / component / "config.json"
        if not path.exists():
            continue
        config, sizes = json.loads(path.read_text()), SIZES.get(named[1], {})
        if "dual_attention_layers" in config:
            sizes = sizes | {"dual_attention_layers": config["dual_attention_layers"][:1]}
        path.write_text(json.dumps(config | sizes))
