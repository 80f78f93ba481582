"""Z-Image by the names of its makers' checkpoints, most of which diffusers kept."""

from diffusion4k.models.layout import Layout

__all__ = ["Z_IMAGE"]


def _attention(place: str) -> dict[str, str | tuple[str, ...]]:
    return {
        "qkv": tuple(f"{place}to_{each}" for each in "qkv"),
        "out": f"{place}to_out.0",
        "q_norm": f"{place}norm_q",
        "k_norm": f"{place}norm_k",
    }


_BLOCKS = ("layers", "noise_refiner", "context_refiner")

Z_IMAGE = Layout(
    {
        "x_embedder": "all_x_embedder.2-1",
        "final_layer.linear": "all_final_layer.2-1.linear",
        "final_layer.adaLN_modulation.1": "all_final_layer.2-1.adaLN_modulation.1",
        **{
            f"{blocks}.{{i}}.attention.{original}": ours
            for blocks in _BLOCKS
            for original, ours in _attention(f"{blocks}.{{i}}.attention.").items()
        },
    },
    keeps=True,
    extra=("norm_final.weight",),
)
