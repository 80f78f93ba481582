"""Stand-ins for what of ComfyUI the nodes touch: an autoencoder of its module names, its `VAE`.

ComfyUI is GPL and is not part of this repository. These are written after the names and shapes of
weights in published checkpoints of the LDM layout, and ComfyUI's interface to nodes.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["SD3_CHANNELS", "LdmAutoencoder", "StandInVae", "install_stand_ins", "stand_in_modules"]

SD3_CHANNELS = (128, 256, 512, 512)
"""Of the autoencoders of Stable Diffusion 3 and FLUX.1."""


def norm(channels: int, groups: int) -> nn.GroupNorm:
    return nn.GroupNorm(groups, channels, eps=1e-6)


class Block(nn.Module):
    """Two convolutions, each after norm and SiLU, beside the input."""

    def __init__(self, before: int, after: int, groups: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = norm(before, groups), nn.Conv2d(before, after, 3, padding=1)
        self.norm2, self.conv2 = norm(after, groups), nn.Conv2d(after, after, 3, padding=1)
        self.nin_shortcut = nn.Conv2d(before, after, 1) if before != after else None

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x), inplace=True))
        h = self.conv2(F.silu(self.norm2(h), inplace=True))
        return h + (x if self.nin_shortcut is None else self.nin_shortcut(x))


class Attention(nn.Module):
    """One head over all pixels, of 1x1 convolutions."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.norm = norm(channels, groups)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(channels, channels, 1) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        q, k, v = (part(h).flatten(2).transpose(1, 2) for part in (self.q, self.k, self.v))
        h = F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])[:, 0]
        return x + self.proj_out(h.transpose(1, 2).reshape(x.shape))


class Middle(nn.Module):
    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.block_1 = Block(channels, channels, groups)
        self.attn_1 = Attention(channels, groups)
        self.block_2 = Block(channels, channels, groups)

    def forward(self, x: Tensor) -> Tensor:
        return self.block_2(self.attn_1(self.block_1(x)))


class Resample(nn.Module):
    """`up`: nearest x2 and a convolution; else one of stride 2, padded below and to the right."""

    def __init__(self, channels: int, *, up: bool) -> None:
        super().__init__()
        self.up = up
        step, pad = (1, 1) if up else (2, 0)
        self.conv = nn.Conv2d(channels, channels, 3, step, pad)

    def forward(self, x: Tensor) -> Tensor:
        x = F.interpolate(x, scale_factor=2.0) if self.up else F.pad(x, (0, 1, 0, 1))
        return self.conv(x)


class Encoder(nn.Module):
    def __init__(self, channels: Sequence[int], latents: int, layers: int, groups: int) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(3, channels[0], 3, padding=1)
        self.down = nn.ModuleList()
        before = channels[0]
        for i, after in enumerate(channels):
            level = nn.Module()
            level.block = nn.ModuleList(
                Block(before if n == 0 else after, after, groups) for n in range(layers)
            )
            level.attn = nn.ModuleList()
            if i < len(channels) - 1:
                level.downsample = Resample(after, up=False)
            self.down.append(level)
            before = after
        self.mid = Middle(before, groups)
        self.norm_out = norm(before, groups)
        self.conv_out = nn.Conv2d(before, 2 * latents, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for level in self.down:
            for block in level.block:
                x = block(x)
            if hasattr(level, "downsample"):
                x = level.downsample(x)
        return self.conv_out(F.silu(self.norm_out(self.mid(x))))


class Decoder(nn.Module):
    """Levels are numbered from the image, and run from the last to the first."""

    def __init__(self, channels: Sequence[int], latents: int, layers: int, groups: int) -> None:
        super().__init__()
        before = channels[-1]
        self.conv_in = nn.Conv2d(latents, before, 3, padding=1)
        self.mid = Middle(before, groups)
        levels: list[nn.Module] = []
        for i, after in reversed(list(enumerate(channels))):
            level = nn.Module()
            level.block = nn.ModuleList(
                Block(before if n == 0 else after, after, groups) for n in range(layers + 1)
            )
            level.attn = nn.ModuleList()
            if i:
                level.upsample = Resample(after, up=True)
            levels.insert(0, level)
            before = after
        self.up = nn.ModuleList(levels)
        self.norm_out = norm(before, groups)
        self.conv_out = nn.Conv2d(before, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.mid(self.conv_in(x))
        for level in reversed(self.up):
            for block in level.block:
                x = block(x)
            if hasattr(level, "upsample"):
                x = level.upsample(x)
        return self.conv_out(F.silu(self.norm_out(x)))


class LdmAutoencoder(nn.Module):
    """`encoder`, `decoder` and, with `quant`, two 1x1 convolutions at the latents."""

    def __init__(
        self,
        channels: Sequence[int] = SD3_CHANNELS,
        latents: int = 16,
        layers: int = 2,
        groups: int = 32,
        *,
        quant: bool = False,
    ) -> None:
        super().__init__()
        self.encoder = Encoder(channels, latents, layers, groups)
        self.decoder = Decoder(channels, latents, layers, groups)
        if quant:
            self.quant_conv = nn.Conv2d(2 * latents, 2 * latents, 1)
            self.post_quant_conv = nn.Conv2d(latents, latents, 1)

    def encode(self, x: Tensor) -> Tensor:
        """The mode of the posterior."""
        x = self.encoder(x)
        x = self.quant_conv(x) if hasattr(self, "quant_conv") else x
        return x.chunk(2, 1)[0]

    def decode(self, z: Tensor) -> Tensor:
        z = self.post_quant_conv(z) if hasattr(self, "post_quant_conv") else z
        return self.decoder(z)


class StandInVae:
    """ComfyUI's object around an autoencoder, with its plain decode and encode."""

    def __init__(self, autoencoder: nn.Module, dtype: torch.dtype = torch.float32) -> None:
        self.first_stage_model = autoencoder.to(dtype).eval()
        self.device = self.output_device = torch.device("cpu")
        self.vae_dtype = dtype
        self.patcher = SimpleNamespace(model=autoencoder)

    def process_input(self, images: Tensor) -> Tensor:
        return images * 2.0 - 1.0

    def process_output(self, images: Tensor) -> Tensor:
        return torch.clamp((images + 1.0) / 2.0, min=0.0, max=1.0)

    @torch.inference_mode()
    def decode(self, samples: Tensor) -> Tensor:
        decoded = self.first_stage_model.decode(samples.to(self.vae_dtype)).float()
        return self.process_output(decoded).movedim(1, -1)

    @torch.inference_mode()
    def encode(self, pixels: Tensor) -> Tensor:
        pixels = self.process_input(pixels.movedim(-1, 1)).to(self.vae_dtype)
        return self.first_stage_model.encode(pixels).float()


class _Patcher:
    def __init__(self, model: Any, load_device: torch.device, offload_device: torch.device) -> None:
        self.model = model
        model.device = offload_device  # as ComfyUI's does


def stand_in_modules(models: Path | None = None) -> dict[str, Any]:
    """ComfyUI's modules as far as the nodes import them, for `sys.modules`.

    Models are looked for in `models/KIND`. What was asked onto the device is kept in
    `comfy.model_management.loaded`.
    """
    comfy, folder_paths = ModuleType("comfy"), ModuleType("folder_paths")
    management, patcher = (
        ModuleType(f"comfy.{name}") for name in ("model_management", "model_patcher")
    )
    loaded: list[Any] = []
    cpu = torch.device("cpu")
    management.__dict__.update(
        loaded=loaded,
        load_models_gpu=lambda models, force_full_load=False: loaded.extend(models),
        vae_device=lambda: cpu,
        vae_offload_device=lambda: cpu,
        intermediate_device=lambda: cpu,
        vae_dtype=lambda device, allowed: allowed[-1],
    )
    patcher.__dict__.update(ModelPatcher=_Patcher)
    folder_paths.__dict__.update(
        get_folder_paths=lambda kind: [str(models / kind)] if models else []
    )
    comfy.__dict__.update(model_management=management, model_patcher=patcher)
    return {
        "comfy": comfy,
        "comfy.model_management": management,
        "comfy.model_patcher": patcher,
        "folder_paths": folder_paths,
    }


def install_stand_ins(models: Path | None = None) -> None:
    """Make `import comfy` find the stand-ins in this process."""
    sys.modules.update(stand_in_modules(models))
