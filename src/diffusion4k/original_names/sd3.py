"""Stability's names of the modules of Stable Diffusion 3 and 3.5.

The last block's `context_block.adaLN_modulation.1` has only shift and scale, which diffusers has
the other way round.
"""

from diffusion4k.original_names.names import Module, OriginalNames

__all__ = ["NAMES"]


def _attention(
    theirs: str, ours: str, names: tuple[str, ...], out: str, added: str
) -> list[Module]:
    return [
        Module(f"{theirs}.qkv", tuple(f"{ours}.{name}" for name in names)),
        Module(f"{theirs}.proj", (f"{ours}.{out}",)),
        Module(f"{theirs}.ln_q", (f"{ours}.norm_{added}q",)),
        Module(f"{theirs}.ln_k", (f"{ours}.norm_{added}k",)),
    ]


def _stream(theirs: str, end: str) -> list[Module]:
    """What a stream has but attention."""
    ours = "transformer_blocks.{}."
    return [
        Module(f"{theirs}.mlp.fc1", (f"{ours}ff{end}.net.0.proj",)),
        Module(f"{theirs}.mlp.fc2", (f"{ours}ff{end}.net.2",)),
        Module(f"{theirs}.adaLN_modulation.1", (f"{ours}norm1{end}.linear",), swapped=bool(end)),
    ]


_X, _CONTEXT, _OURS = (
    "joint_blocks.{}.x_block",
    "joint_blocks.{}.context_block",
    "transformer_blocks.{}",
)
_IMAGE = ("to_q", "to_k", "to_v")
_TEXT = ("add_q_proj", "add_k_proj", "add_v_proj")

NAMES = OriginalNames(
    family="sd3",
    pipeline_class="StableDiffusion3Pipeline",
    architectures=("stable-diffusion-3",),
    modules=(
        *_attention(f"{_X}.attn", f"{_OURS}.attn", _IMAGE, "to_out.0", ""),
        *_attention(f"{_X}.attn2", f"{_OURS}.attn2", _IMAGE, "to_out.0", ""),
        *_attention(f"{_CONTEXT}.attn", f"{_OURS}.attn", _TEXT, "to_add_out", "added_"),
        *_stream(_X, ""),
        *_stream(_CONTEXT, "_context"),
        Module("x_embedder.proj", ("pos_embed.proj",)),
        Module("context_embedder", ("context_embedder",)),
        *(
            Module(f"{theirs}.mlp.{index}", (f"time_text_embed.{ours}_embedder.linear_{number}",))
            for theirs, ours in (("t_embedder", "timestep"), ("y_embedder", "text"))
            for index, number in ((0, 1), (2, 2))
        ),
        Module("final_layer.linear", ("proj_out",)),
        Module("final_layer.adaLN_modulation.1", ("norm_out.linear",), swapped=True),
    ),
    parameters=(("pos_embed", "pos_embed.pos_embed"),),
)
