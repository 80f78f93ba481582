"""PixArt-Sigma by the names of its makers' checkpoints.

The caption that stands for none, `y_embedder.y_embedding`, has no place in diffusers, which takes
the text encoder's of an empty prompt.
"""

from diffusion4k.models.layout import Layout

__all__ = ["PIXART"]

_BLOCK = "transformer_blocks.{i}."

PIXART = Layout(
    {
        "x_embedder.proj": "pos_embed.proj",
        "t_embedder.mlp.0": "adaln_single.emb.timestep_embedder.linear_1",
        "t_embedder.mlp.2": "adaln_single.emb.timestep_embedder.linear_2",
        "t_block.1": "adaln_single.linear",
        "y_embedder.y_proj.fc1": "caption_projection.linear_1",
        "y_embedder.y_proj.fc2": "caption_projection.linear_2",
        "blocks.{i}.scale_shift_table": _BLOCK + "scale_shift_table",
        "blocks.{i}.attn.qkv": tuple(_BLOCK + f"attn1.to_{each}" for each in "qkv"),
        "blocks.{i}.attn.proj": _BLOCK + "attn1.to_out.0",
        "blocks.{i}.cross_attn.q_linear": _BLOCK + "attn2.to_q",
        "blocks.{i}.cross_attn.kv_linear": tuple(_BLOCK + f"attn2.to_{each}" for each in "kv"),
        "blocks.{i}.cross_attn.proj": _BLOCK + "attn2.to_out.0",
        "blocks.{i}.mlp.fc1": _BLOCK + "ff.net.0.proj",
        "blocks.{i}.mlp.fc2": _BLOCK + "ff.net.2",
        "final_layer.linear": "proj_out",
        "final_layer.scale_shift_table": "scale_shift_table",
    },
    extra=("pos_embed", "y_embedder.y_embedding"),
)
