"""FLUX.1 by the names of Black Forest Labs' checkpoints."""

from diffusion4k.models.layout import Layout, Rule

__all__ = ["FLUX"]

_DOUBLE, _SINGLE = "transformer_blocks.{i}.", "single_transformer_blocks.{i}."

FLUX = Layout(
    {
        "img_in": "x_embedder",
        "txt_in": "context_embedder",
        "time_in.in_layer": "time_text_embed.timestep_embedder.linear_1",
        "time_in.out_layer": "time_text_embed.timestep_embedder.linear_2",
        "vector_in.in_layer": "time_text_embed.text_embedder.linear_1",
        "vector_in.out_layer": "time_text_embed.text_embedder.linear_2",
        "guidance_in.in_layer": "time_text_embed.guidance_embedder.linear_1",
        "guidance_in.out_layer": "time_text_embed.guidance_embedder.linear_2",
        "double_blocks.{i}.img_mod.lin": _DOUBLE + "norm1.linear",
        "double_blocks.{i}.txt_mod.lin": _DOUBLE + "norm1_context.linear",
        "double_blocks.{i}.img_attn.qkv": tuple(_DOUBLE + f"attn.to_{each}" for each in "qkv"),
        "double_blocks.{i}.txt_attn.qkv": tuple(
            _DOUBLE + f"attn.add_{each}_proj" for each in "qkv"
        ),
        "double_blocks.{i}.img_attn.norm.query_norm.scale": _DOUBLE + "attn.norm_q.weight",
        "double_blocks.{i}.img_attn.norm.key_norm.scale": _DOUBLE + "attn.norm_k.weight",
        "double_blocks.{i}.txt_attn.norm.query_norm.scale": _DOUBLE + "attn.norm_added_q.weight",
        "double_blocks.{i}.txt_attn.norm.key_norm.scale": _DOUBLE + "attn.norm_added_k.weight",
        "double_blocks.{i}.img_attn.proj": _DOUBLE + "attn.to_out.0",
        "double_blocks.{i}.txt_attn.proj": _DOUBLE + "attn.to_add_out",
        "double_blocks.{i}.img_mlp.0": _DOUBLE + "ff.net.0.proj",
        "double_blocks.{i}.img_mlp.2": _DOUBLE + "ff.net.2",
        "double_blocks.{i}.txt_mlp.0": _DOUBLE + "ff_context.net.0.proj",
        "double_blocks.{i}.txt_mlp.2": _DOUBLE + "ff_context.net.2",
        "single_blocks.{i}.modulation.lin": _SINGLE + "norm.linear",
        "single_blocks.{i}.linear1": (
            *(_SINGLE + f"attn.to_{each}" for each in "qkv"),
            _SINGLE + "proj_mlp",
        ),
        "single_blocks.{i}.linear2": _SINGLE + "proj_out",
        "single_blocks.{i}.norm.query_norm.scale": _SINGLE + "attn.norm_q.weight",
        "single_blocks.{i}.norm.key_norm.scale": _SINGLE + "attn.norm_k.weight",
        # Shift and scale here; scale and shift in diffusers.
        "final_layer.adaLN_modulation.1": Rule(("norm_out.linear",), halves_swapped=True),
        "final_layer.linear": "proj_out",
    }
)
