"""Where the parts of a pipeline stand while an image is made: memory against time.

- high: everything stays on the device, text encoders for later prompts as well; on a GPU an image
  is decoded and written beside the steps of the next one.
- balanced: text encoders are freed once the prompts are encoded; the transformer is off the device
  while an image is decoded.
- low: text encoders are freed; the transformer's blocks come to the device one by one; on a GPU the
  two predictions of a guided step are made one after the other; the decoder's feature maps take at
  most 1 GiB by default.

Off the device means in the CPU's memory. Where that is the device's own (the CPU, Apple's GPUs) the
transformer stays; on the CPU its weights are mapped from their file, and the system drops and reads
them as it needs room. The autoencoder is small and stays, and is run lean in any case.
"""

from typing import TYPE_CHECKING

import torch
from torch import nn

from diffusion4k.errors import UsageError
from diffusion4k.support.devices import has_own_memory
from diffusion4k.vae import parse_memory

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

__all__ = ["LEVELS", "Placement", "can_stream", "check_level", "decoder_limit", "stream_blocks"]

LEVELS = ("low", "balanced", "high")
_LOW_DECODER = 2**30


def check_level(level: str) -> None:
    """Refuse anything that is not a level.

    Raises:
        UsageError: names the levels.
    """
    if level not in LEVELS:
        raise UsageError(f"memory {level}: allowed are {', '.join(LEVELS)}")


def can_stream(weights: str | None) -> bool:
    """Whether a transformer with such weights (None: the model's own) can be moved by blocks."""
    return weights in (None, "fp8")


def decoder_limit(level: str, max_memory: int | None) -> int | None:
    """Bytes that the decoder's feature maps may take at that level; None: no limit."""
    if max_memory is None and level == "low":
        return _LOW_DECODER
    return max_memory


class Placement:
    """Moves a pipeline's parts at the right moments.

    Args:
        level: `low`, `balanced` or `high`.
        device: where to compute.
        max_memory: of the decoder's feature maps, in bytes or as `"4GiB"`.
        streams_blocks: whether the transformer's weights can be moved block by block.

    Raises:
        UsageError: an unknown level, or a memory that is no size.
    """

    def __init__(
        self,
        level: str,
        device: torch.device,
        max_memory: int | str | None = None,
        *,
        streams_blocks: bool = True,
    ) -> None:
        check_level(level)
        self.level, self.device = level, device
        self.max_memory = decoder_limit(level, parse_memory(max_memory))
        self.keeps_text_encoders = level == "high"
        apart = has_own_memory(device)
        self.streams_blocks = level == "low" and streams_blocks and apart
        # Not on the CPU, where an image is the same to the bit at all levels.
        self.halves_apart = level == "low" and device.type != "cpu"
        self.decodes_beside = level == "high" and device.type == "cuda"
        self._is_moved = level != "high" and not self.streams_blocks and apart

    def __str__(self) -> str:
        """One line that says what is done."""
        transformer = f"transformer stays on {self.device}"
        if self.streams_blocks:
            transformer = f"transformer block by block on {self.device}"
        elif self._is_moved:
            transformer = f"transformer leaves {self.device} while an image is decoded"
        text = "stay loaded" if self.keeps_text_encoders else "freed after encoding"
        limit = f"{self.max_memory / 2**20:.0f} MiB" if self.max_memory else "no limit"
        return (
            f"memory {self.level}: {transformer}; text encoders {text}; image decoded in strips, "
            f"feature maps: {limit}"
        )

    def place(self, pipeline: "DiffusionPipeline") -> None:
        """Put a pipeline that was just loaded where it belongs."""
        if self.streams_blocks:
            pipeline.vae.to(self.device)
            stream_blocks(pipeline.transformer, self.device)
        else:
            pipeline.to(self.device)

    def before_denoising(self, pipeline: "DiffusionPipeline") -> None:
        """The transformer is needed."""
        if self._is_moved:
            pipeline.transformer.to(self.device)

    def before_decoding(self, pipeline: "DiffusionPipeline") -> None:
        """The transformer is not needed until the next image."""
        if self._is_moved:
            pipeline.transformer.to("cpu")


def stream_blocks(transformer: nn.Module, device: torch.device) -> None:
    """Keep a transformer in the CPU's memory; a block is on the device while it computes."""
    from diffusers.hooks import apply_group_offloading

    apply_group_offloading(
        transformer,
        onload_device=device,
        offload_device=torch.device("cpu"),
        offload_type="block_level",
        num_blocks_per_group=1,
        # The next block travels while this one computes.
        use_stream=device.type == "cuda",
    )
