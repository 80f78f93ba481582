"""Z-Image's modules as ComfyUI's single file names them; its authors' names are diffusers'."""

from diffusion4k.original_names.names import Module, OriginalNames

__all__ = ["NAMES"]


def _block(name: str) -> list[Module]:
    block = f"{name}.{{}}"
    attention = f"{block}.attention"
    return [
        Module(f"{attention}.qkv", tuple(f"{attention}.to_{each}" for each in ("q", "k", "v"))),
        Module(f"{attention}.out", (f"{attention}.to_out.0",)),
        Module(f"{attention}.q_norm", (f"{attention}.norm_q",)),
        Module(f"{attention}.k_norm", (f"{attention}.norm_k",)),
        *_same(
            *(f"{block}.feed_forward.w{number}" for number in (1, 2, 3)),
            *(f"{block}.{norm}{end}" for norm in ("attention_norm", "ffn_norm") for end in (1, 2)),
            *([] if name == "context_refiner" else [f"{block}.adaLN_modulation.0"]),
        ),
    ]


def _same(*names: str) -> list[Module]:
    return [Module(name, (name,)) for name in names]


NAMES = OriginalNames(
    family="z-image",
    pipeline_class="ZImagePipeline",
    architectures=("z-image",),
    modules=(
        *_block("layers"),
        *_block("noise_refiner"),
        *_block("context_refiner"),
        *_same("cap_embedder.0", "cap_embedder.1", "t_embedder.mlp.0", "t_embedder.mlp.2"),
        Module("x_embedder", ("all_x_embedder.2-1",)),
        Module("final_layer.linear", ("all_final_layer.2-1.linear",)),
        Module("final_layer.adaLN_modulation.1", ("all_final_layer.2-1.adaLN_modulation.1",)),
    ),
    parameters=(("x_pad_token", "x_pad_token"), ("cap_pad_token", "cap_pad_token")),
    extra=("norm_final.weight",),
)
