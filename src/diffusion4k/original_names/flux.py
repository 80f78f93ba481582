"""Black Forest Labs' names of FLUX.1's modules."""

from diffusion4k.original_names.names import Module, OriginalNames

__all__ = ["NAMES"]


def _stream(stream: str, attention: tuple[str, ...], out: str, end: str) -> list[Module]:
    """One of the two streams of a double block."""
    ours, theirs = "transformer_blocks.{}.", f"double_blocks.{{}}.{stream}_"
    queries, keys = f"{ours}attn.norm_{end and 'added_'}q", f"{ours}attn.norm_{end and 'added_'}k"
    return [
        Module(f"{theirs}attn.qkv", tuple(f"{ours}attn.{name}" for name in attention)),
        Module(f"{theirs}attn.proj", (f"{ours}attn.{out}",)),
        Module(f"{theirs}attn.norm.query_norm", (queries,), weight="scale"),
        Module(f"{theirs}attn.norm.key_norm", (keys,), weight="scale"),
        Module(f"{theirs}mlp.0", (f"{ours}ff{end}.net.0.proj",)),
        Module(f"{theirs}mlp.2", (f"{ours}ff{end}.net.2",)),
        Module(f"{theirs}mod.lin", (f"{ours}norm1{end}.linear",)),
    ]


_SINGLE = "single_transformer_blocks.{}."
_EMBEDDERS = {"time_in": "timestep", "vector_in": "text", "guidance_in": "guidance"}

NAMES = OriginalNames(
    family="flux",
    pipeline_class="FluxPipeline",
    architectures=("flux-1",),
    modules=(
        *_stream("img", ("to_q", "to_k", "to_v"), "to_out.0", ""),
        *_stream("txt", ("add_q_proj", "add_k_proj", "add_v_proj"), "to_add_out", "_context"),
        Module(
            "single_blocks.{}.linear1",
            tuple(_SINGLE + name for name in ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")),
            shares=(1, 1, 1, 4),
        ),
        Module("single_blocks.{}.linear2", (_SINGLE + "proj_out",)),
        Module("single_blocks.{}.modulation.lin", (_SINGLE + "norm.linear",)),
        Module("single_blocks.{}.norm.query_norm", (_SINGLE + "attn.norm_q",), weight="scale"),
        Module("single_blocks.{}.norm.key_norm", (_SINGLE + "attn.norm_k",), weight="scale"),
        Module("img_in", ("x_embedder",)),
        Module("txt_in", ("context_embedder",)),
        *(
            Module(f"{theirs}.{side}_layer", (f"time_text_embed.{ours}_embedder.linear_{number}",))
            for theirs, ours in _EMBEDDERS.items()
            for side, number in (("in", 1), ("out", 2))
        ),
        Module("final_layer.linear", ("proj_out",)),
        Module("final_layer.adaLN_modulation.1", ("norm_out.linear",), swapped=True),
    ),
)
