"""`AutoencoderKL` by the names of latent diffusion's checkpoints (LDM, arXiv 2112.10752).

The decoder's levels are counted from the end there, and attention is made of 1x1 convolutions.
"""

from diffusion4k.models.layout import Layout, Rule

__all__ = ["LDM"]


def _attention(side: str) -> dict[str, str | Rule]:
    there, ours = f"{side}.mid.attn_1.", f"{side}.mid_block.attentions.0."
    names = {"q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}
    linear = {there + name: Rule((ours + our,), pointwise=True) for name, our in names.items()}
    return {there + "norm": ours + "group_norm", **linear}


def _residual(there: str, ours: str) -> dict[str, str]:
    names = {each: each for each in ("norm1", "conv1", "norm2", "conv2")}
    names["nin_shortcut"] = "conv_shortcut"
    return {f"{there}.{name}": f"{ours}.{our}" for name, our in names.items()}


def _middle(side: str) -> dict[str, str | Rule]:
    blocks: dict[str, str | Rule] = {}
    for number in (1, 2):
        ours = f"{side}.mid_block.resnets.{number - 1}"
        blocks |= _residual(f"{side}.mid.block_{number}", ours)
    return blocks | _attention(side)


LDM = Layout(
    {
        "encoder.conv_in": "encoder.conv_in",
        **_residual("encoder.down.{i}.block.{j}", "encoder.down_blocks.{i}.resnets.{j}"),
        "encoder.down.{i}.downsample.conv": "encoder.down_blocks.{i}.downsamplers.0.conv",
        **_middle("encoder"),
        "encoder.norm_out": "encoder.conv_norm_out",
        "encoder.conv_out": "encoder.conv_out",
        "quant_conv": "quant_conv",
        "post_quant_conv": "post_quant_conv",
        "decoder.conv_in": "decoder.conv_in",
        **_middle("decoder"),
        **_residual("decoder.up.{-i}.block.{j}", "decoder.up_blocks.{i}.resnets.{j}"),
        "decoder.up.{-i}.upsample.conv": "decoder.up_blocks.{i}.upsamplers.0.conv",
        "decoder.norm_out": "decoder.conv_norm_out",
        "decoder.conv_out": "decoder.conv_out",
    },
    prefix="first_stage_model.",
)
