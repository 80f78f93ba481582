"""Which weights the metrics with networks use: a section of a configuration.

`network_measures` makes measures of it. Nothing heavy is imported here.
"""

from typing import Literal

from diffusion4k.config.types import Count, Section, Text

__all__ = ["LongTexts", "Networks", "Resize"]

LongTexts = Literal["cut", "mean", "torchmetrics"]
"""What becomes of a text that CLIP cannot read whole; see `clip`."""

Resize = Literal["torchmetrics", "tensorflow", "clean"]
"""How a picture comes to Inception's 299x299 pixels; see `fid`."""


class Networks(Section):
    """Files, folders, hub ids, or `OWNER/NAME/FILE` on the hub.

    Each name of weights may end in `#sha256=` and the checksum of its file. A metric whose weights
    are not named is missing; none is fetched unasked.
    """

    inception: Text | None = None
    """Weights for FID, KID and patch-FID: pt_inception-2015-12-05-6726825d.pth."""
    fid_resize: Resize = "tensorflow"
    """The paper's; see `fid`."""
    fid_side: Count | None = 2048
    """The central square at this side comes first, as in the paper: the size of its images. None:
    the whole picture."""
    patch_size: Count = 299
    patches_per_image: Count = 64
    clip: Text | None = None
    """Model for CLIPScore: openai/clip-vit-base-patch16."""
    long_prompts: LongTexts = "cut"
    aesthetics_clip: Text | None = None
    """openai/clip-vit-large-patch14."""
    aesthetics_mlp: Text | None = None
    """sac+logos+ava1-l14-linearMSE.pth."""
    cmmd_clip: Text | None = None
    """openai/clip-vit-large-patch14-336."""
    dinov2: Text | None = None
    """facebook/dinov2-large."""
    pickscore: Text | None = None
    """yuvalkirstain/PickScore_v1."""
    lpips: Text | None = None
    """alexnet-owt-7be5be79.pth; vgg16-397923af.pth with `lpips_network: vgg`."""
    lpips_network: Literal["vgg", "alex"] = "alex"
    lpips_heads: Text | None = None
    """LPIPS heads; by default those of the installed package lpips."""
    pyiqa: tuple[Text, ...] = ("niqe", "musiq", "maniqa")
    """Scores of the package pyiqa, where it is installed; it fetches its weights itself."""
    hpsv3: Text | None = None
    """MizzenAI/HPSv3/HPSv3.safetensors; needs the package hpsv3."""
