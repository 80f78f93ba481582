"""Stable Diffusion 3 and 3.5 by the names of Stability AI's checkpoints."""

from diffusion4k.models.layout import Layout, Rule

__all__ = ["SD3"]

_BLOCK = "transformer_blocks.{i}."

SD3 = Layout(
    {
        "pos_embed": "pos_embed.pos_embed",
        "x_embedder.proj": "pos_embed.proj",
        "t_embedder.mlp.0": "time_text_embed.timestep_embedder.linear_1",
        "t_embedder.mlp.2": "time_text_embed.timestep_embedder.linear_2",
        "y_embedder.mlp.0": "time_text_embed.text_embedder.linear_1",
        "y_embedder.mlp.2": "time_text_embed.text_embedder.linear_2",
        "context_embedder": "context_embedder",
        # Shift and scale here; scale and shift in diffusers. The last block leaves the text as it
        # is, and its modulation is such a pair.
        "joint_blocks.{last}.context_block.adaLN_modulation.1": Rule(
            ("transformer_blocks.{last}.norm1_context.linear",), halves_swapped=True
        ),
        "joint_blocks.{i}.context_block.adaLN_modulation.1": _BLOCK + "norm1_context.linear",
        "joint_blocks.{i}.x_block.adaLN_modulation.1": _BLOCK + "norm1.linear",
        "joint_blocks.{i}.x_block.attn.qkv": tuple(_BLOCK + f"attn.to_{each}" for each in "qkv"),
        "joint_blocks.{i}.x_block.attn2.qkv": tuple(_BLOCK + f"attn2.to_{each}" for each in "qkv"),
        "joint_blocks.{i}.context_block.attn.qkv": tuple(
            _BLOCK + f"attn.add_{each}_proj" for each in "qkv"
        ),
        "joint_blocks.{i}.x_block.attn.ln_q": _BLOCK + "attn.norm_q",
        "joint_blocks.{i}.x_block.attn.ln_k": _BLOCK + "attn.norm_k",
        "joint_blocks.{i}.x_block.attn2.ln_q": _BLOCK + "attn2.norm_q",
        "joint_blocks.{i}.x_block.attn2.ln_k": _BLOCK + "attn2.norm_k",
        "joint_blocks.{i}.context_block.attn.ln_q": _BLOCK + "attn.norm_added_q",
        "joint_blocks.{i}.context_block.attn.ln_k": _BLOCK + "attn.norm_added_k",
        "joint_blocks.{i}.x_block.attn.proj": _BLOCK + "attn.to_out.0",
        "joint_blocks.{i}.x_block.attn2.proj": _BLOCK + "attn2.to_out.0",
        "joint_blocks.{i}.context_block.attn.proj": _BLOCK + "attn.to_add_out",
        "joint_blocks.{i}.x_block.mlp.fc1": _BLOCK + "ff.net.0.proj",
        "joint_blocks.{i}.x_block.mlp.fc2": _BLOCK + "ff.net.2",
        "joint_blocks.{i}.context_block.mlp.fc1": _BLOCK + "ff_context.net.0.proj",
        "joint_blocks.{i}.context_block.mlp.fc2": _BLOCK + "ff_context.net.2",
        "final_layer.adaLN_modulation.1": Rule(("norm_out.linear",), halves_swapped=True),
        "final_layer.linear": "proj_out",
    }
)
