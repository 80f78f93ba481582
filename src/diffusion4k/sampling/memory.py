"""Where the parts of a pipeline stand while an image is made: memory against time.

- high: everything stays on the device, text encoders for later prompts as well.
- balanced: text encoders are freed once the prompts are encoded; the transformer is off the device
  while an image is decoded.
- low: text encoders are freed; the transformer's blocks come to the device one by one; the
  decoder's feature maps take at most 1 GiB unless told otherwise.

Off the device means in the processor's memory; with the processor as the device, blocks stand in
temporary files. The autoencoder is small and stays, and is run lean in any case.
"""

import tempfile
from typing import Any

import torch

from diffusion4k.errors import UsageError
from diffusion4k.vae import parse_memory

__all__ = ["LEVELS", "LOW_DECODER", "Placement"]

LEVELS = ("low", "balanced", "high")
LOW_DECODER = 2**30


class Placement:
    """Moves a pipeline's parts at the right moments.

    Arguments:
        level: one of `LEVELS`.
        device: where to compute.
        max_memory: of the decoder's feature maps, in bytes or as `"4GiB"`.
        streams_blocks: whether the transformer's weights can be moved block by block.
        decodes_in_strips: whether the decoder can keep to a limit.

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
        decodes_in_strips: bool = True,
    ) -> None:
        if level not in LEVELS:
            raise UsageError(f"memory {level}: allowed are {', '.join(LEVELS)}")
        self.level, self.device = level, device
        self.max_memory = parse_memory(max_memory)
        self._in_strips = decodes_in_strips
        if self.max_memory is None and level == "low" and decodes_in_strips:
            self.max_memory = LOW_DECODER
        self.keeps_text_encoders = level == "high"
        self._by_block = level == "low" and streams_blocks
        self._is_moved = level != "high" and not self._by_block and device.type != "cpu"
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __str__(self) -> str:
        """One line that says what is done."""
        transformer = f"transformer stays on {self.device}"
        if self._by_block:
            store = "temporary files" if self.device.type == "cpu" else "the processor's memory"
            transformer = f"transformer block by block from {store}"
        elif self._is_moved:
            transformer = f"transformer leaves {self.device} while an image is decoded"
        text = "stay loaded" if self.keeps_text_encoders else "freed after encoding"
        limit = f"{self.max_memory / 2**20:.0f} MiB" if self.max_memory else "no limit"
        decoder = f"in strips, feature maps: {limit}" if self._in_strips else "at once"
        return f"memory {self.level}: {transformer}; text encoders {text}; image decoded {decoder}"

    def place(self, pipeline: Any) -> None:
        """Put a pipeline that was just loaded where it belongs."""
        if not self._by_block:
            pipeline.to(self.device)
            return
        from diffusers.hooks import apply_group_offloading

        pipeline.vae.to(self.device)
        on_cpu = self.device.type == "cpu"
        if on_cpu:
            self._folder = tempfile.TemporaryDirectory(prefix="diffusion4k-")
        apply_group_offloading(
            pipeline.transformer,
            onload_device=self.device,
            offload_device=torch.device("cpu"),
            offload_type="block_level",
            num_blocks_per_group=1,
            # The next block travels while this one computes.
            use_stream=self.device.type == "cuda",
            offload_to_disk_path=self._folder.name if self._folder else None,
        )

    def before_denoising(self, pipeline: Any) -> None:
        """The transformer is needed."""
        if self._is_moved:
            pipeline.transformer.to(self.device)

    def before_decoding(self, pipeline: Any) -> None:
        """The transformer is not needed until the next image."""
        if self._is_moved:
            pipeline.transformer.to("cpu")
