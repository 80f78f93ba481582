"""The names of PixArt's authors."""

from diffusion4k.original_names.names import Module, OriginalNames

__all__ = ["NAMES"]

_OURS, _THEIRS = "transformer_blocks.{}", "blocks.{}"
_EMBEDDERS = {
    "t_embedder": "timestep",
    "csize_embedder": "resolution",
    "ar_embedder": "aspect_ratio",
}

NAMES = OriginalNames(
    family="pixart",
    pipeline_class="PixArtSigmaPipeline",
    architectures=("pixart",),
    modules=(
        Module(
            f"{_THEIRS}.attn.qkv", tuple(f"{_OURS}.attn1.to_{name}" for name in ("q", "k", "v"))
        ),
        Module(f"{_THEIRS}.attn.proj", (f"{_OURS}.attn1.to_out.0",)),
        Module(f"{_THEIRS}.cross_attn.q_linear", (f"{_OURS}.attn2.to_q",)),
        Module(
            f"{_THEIRS}.cross_attn.kv_linear", tuple(f"{_OURS}.attn2.to_{name}" for name in "kv")
        ),
        Module(f"{_THEIRS}.cross_attn.proj", (f"{_OURS}.attn2.to_out.0",)),
        Module(f"{_THEIRS}.mlp.fc1", (f"{_OURS}.ff.net.0.proj",)),
        Module(f"{_THEIRS}.mlp.fc2", (f"{_OURS}.ff.net.2",)),
        Module("x_embedder.proj", ("pos_embed.proj",)),
        Module("y_embedder.y_proj.fc1", ("caption_projection.linear_1",)),
        Module("y_embedder.y_proj.fc2", ("caption_projection.linear_2",)),
        *(
            Module(f"{theirs}.mlp.{index}", (f"adaln_single.emb.{ours}_embedder.linear_{number}",))
            for theirs, ours in _EMBEDDERS.items()
            for index, number in ((0, 1), (2, 2))
        ),
        Module("t_block.1", ("adaln_single.linear",)),
        Module("final_layer.linear", ("proj_out",)),
    ),
    parameters=(
        (f"{_THEIRS}.scale_shift_table", f"{_OURS}.scale_shift_table"),
        ("final_layer.scale_shift_table", "scale_shift_table"),
    ),
    # diffusers computes positions, and takes the encoded empty prompt for no caption.
    extra=("pos_embed", "y_embedder.y_embedding"),
)
