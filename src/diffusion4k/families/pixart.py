r"""PixArt-Sigma (Chen et al., arXiv 2403.04692), and all models of its layout.

- Text: T5's hidden states of 300 tokens, and the mask of those that are text.
- Latents: scaled, without a shift.
- Prediction: the noise of a variance-preserving schedule, at one of 1000 timesteps; what the
  network says about the variance is dropped. The contract's velocity follows from it exactly.
  With alpha_t^2 = prod(1 - beta_i) and sigma_t^2 = 1 - alpha_t^2 the network sees
  x_t = alpha_t x + sigma_t noise. Divided by alpha_t + sigma_t this is a point of the flow,

      z = (1 - s) x + s noise,  s = sigma_t / (alpha_t + sigma_t),  x_t = z / sqrt(s^2 + (1 - s)^2),

  so that s determines t by s / (1 - s) = sigma_t / alpha_t (interpolated between timesteps). From
  the predicted noise follow the clean latents and the velocity:

      x_hat = (z - s noise_hat) / (1 - s),   v = noise_hat - x_hat = (noise_hat - z) / (1 - s).

  A velocity error is therefore the noise error times 1 / (1 - s). The schedule spans s from 0.0099
  to 0.9937; outside, s counts as the nearer end.
- Sizes: the network's positions are computed for any size; `SIZES_4K` are those of its training.
"""

import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from diffusion4k.errors import Diffusion4kError
from diffusion4k.families.autoencoder_kl import AUTOENCODER_KL, AutoencoderKLFamily
from diffusion4k.families.base import NO_LIMIT, AfterStep, Checkpoint, Defaults, meta_tensor
from diffusion4k.families.spatial import NoiseLevel
from diffusion4k.models.folder import (
    component_folder,
    read_json,
    transformer_config,
)

__all__ = ["SIZES_4K", "PixArtSigma"]

_BETAS = (0.0001, 0.02)
_TIMESTEPS = 1000
_SCHEDULE = {
    "beta_start": _BETAS[0],
    "beta_end": _BETAS[1],
    "beta_schedule": "linear",
    "num_train_timesteps": _TIMESTEPS,
    "prediction_type": "epsilon",
}
_OPEN_RAIL = "CreativeML Open RAIL++-M"

_LANDSCAPE_4K = (
    *((5760, 1408), (5568, 1408), (5376, 1408), (5184, 1408), (4992, 1600), (4800, 1600)),
    *((4672, 1600), (4480, 1792), (4288, 1792), (4096, 1920), (3904, 1920), (3840, 2112)),
    *((3584, 2112), (3392, 2304), (3200, 2304), (3200, 2496), (3008, 2496), (3008, 2688)),
    (2880, 2688),
)
SIZES_4K = (*_LANDSCAPE_4K, (2880, 2880), *((height, width) for width, height in _LANDSCAPE_4K))
"""Width and height in pixels of the aspect buckets of its 4K training, about 3840x2160 pixels each
(`ASPECT_RATIO_2880` of the authors' code)."""


class PixArtSigma(AutoencoderKLFamily):
    """Family of `PixArtSigmaPipeline` folders; see `families.base.Family`."""

    name = "pixart"
    pipeline_class = "PixArtSigmaPipeline"
    components: ClassVar[Mapping[str, tuple[str, ...]]] = {
        # Published folders have it under the name of the class that it was split from.
        "transformer": ("diffusers.PixArtTransformer2DModel", "Transformer2DModel"),
        "vae": AUTOENCODER_KL,
        "text_encoder": ("transformers.T5EncoderModel",),
        "tokenizer": ("transformers.T5TokenizerFast",),
    }
    schedulers: ClassVar[tuple[str, ...]] = ("DPMSolverMultistepScheduler", "DDPMScheduler")
    checkpoints = (
        Checkpoint("PixArt-alpha/PixArt-Sigma-XL-2-1024-MS", _OPEN_RAIL),
        Checkpoint("PixArt-alpha/PixArt-Sigma-XL-2-2K-MS", _OPEN_RAIL),
    )

    def check(self, model: Path) -> None:
        """Also check that its noise schedule is the one of this family."""
        super().check(model)
        path = component_folder(model, "scheduler") / "scheduler_config.json"
        found = read_json(path)
        for key, value in _SCHEDULE.items():
            if found.get(key, value) != value:
                raise Diffusion4kError(
                    f"{path}: {key} is {found[key]!r}; {self.name} models have {value!r}"
                )

    def defaults_for(self, transformer: dict[str, Any], scheduler: dict[str, Any]) -> Defaults:
        """20 steps, guidance 4.5; 3840x2160 at F=8, at F=16 3840x2112, the nearest of its table."""
        height = 2160 if self.factor == 8 else 2112
        return Defaults(steps=20, guidance=4.5, width=3840, height=height)

    def max_side(self, model: Path) -> int:
        """Positions are computed for any size."""
        return NO_LIMIT

    def max_sequence_length(self, model: Path) -> int:
        """T5's tokens, as in the stock pipeline."""
        return 300

    @torch.no_grad()
    def encode_text(
        self, text_encoders: Any, captions: list[str], *, negative: bool = False
    ) -> dict[str, Tensor]:
        """Stock `encode_prompt`: `prompt_embeds (B, 300, D)`, `prompt_attention_mask (B, 300)`.

        Captions are taken as they are: the stock pipeline would clean them of web addresses and
        such if two more packages were installed, so that the result would depend on the machine.
        """
        prompt_embeds, mask, _, _ = text_encoders.encode_prompt(
            list(captions),
            do_classifier_free_guidance=False,
            device=text_encoders.text_encoder.device,
            clean_caption=False,
            max_sequence_length=text_encoders.max_sequence_length,
        )
        return {"prompt_embeds": prompt_embeds, "prompt_attention_mask": mask}

    def empty_conditioning(self, model: Path, captions: int) -> dict[str, Tensor]:
        shape = captions, self.text_tokens(model)
        return {
            "prompt_embeds": meta_tensor(*shape, transformer_config(model)["caption_channels"]),
            "prompt_attention_mask": meta_tensor(*shape, dtype=torch.int64),
        }

    def velocity(
        self, transformer: nn.Module, noisy: Tensor, sigma: Tensor, conditioning: dict[str, Tensor]
    ) -> Tensor:
        """Velocity `(B, C, h, w)` that follows from the predicted noise, see above."""
        first, *_, last = _flow_sigmas()
        sigma = sigma.clamp(first, last)
        s = sigma.view(-1, 1, 1, 1)
        noise = transformer(
            noisy / torch.sqrt(s**2 + (1 - s) ** 2),
            encoder_hidden_states=conditioning["prompt_embeds"].to(noisy),
            encoder_attention_mask=conditioning["prompt_attention_mask"],
            timestep=_timestep(sigma),
            added_cond_kwargs={"resolution": None, "aspect_ratio": None},
            return_dict=False,
        )[0][:, : noisy.shape[1]]
        return (noise - noisy) / (1 - s)

    def noise_level(self, transformer: Any, timestep: Tensor) -> NoiseLevel:
        """Noise level of a whole timestep: x = (x_t - sigma_t noise) / alpha_t."""
        sigmas = torch.tensor(_flow_sigmas(), dtype=torch.float64)
        s = sigmas[timestep.long().cpu()].to(timestep.device)
        # s / (1 - s) = sigma_t / alpha_t, and the squares of alpha_t and sigma_t sum to one.
        ratio = s / (1 - s)
        inverse = torch.sqrt(1 + ratio**2)
        return NoiseLevel(s.float(), inverse.float(), -ratio.float())

    def call_arguments(
        self,
        conditioning: dict[str, Tensor],
        *,
        guidance: float,
        negative: dict[str, Tensor] | None = None,
        after_step: AfterStep | None = None,
    ) -> dict[str, Any]:
        """Arguments as in all families, except the callback; the size is not binned."""
        arguments = super().call_arguments(conditioning, guidance=guidance, negative=negative)
        arguments |= {"negative_prompt": None, "use_resolution_binning": False}
        if after_step:
            arguments["callback"] = lambda step, _, latents: after_step(step, latents)
        return arguments


@cache
def _flow_sigmas() -> tuple[float, ...]:
    """s of each timestep."""
    betas = torch.linspace(*_BETAS, _TIMESTEPS, dtype=torch.float64)
    alphas = (1 - betas).cumprod(0).sqrt()
    sigmas = (1 - alphas**2).sqrt()
    return tuple((sigmas / (alphas + sigmas)).tolist())


def _timestep(sigma: Tensor) -> Tensor:
    """The timestep, between whole ones too, at which noise and signal are as in the flow at sigma.

    Linear in log(s / (1 - s)) from one timestep to the next.
    """
    table = torch.tensor([math.log(s / (1 - s)) for s in _flow_sigmas()], dtype=torch.float64)
    table = table.to(sigma.device)
    wanted = torch.logit(sigma.double())
    below = (torch.searchsorted(table, wanted) - 1).clamp(0, len(table) - 2)
    share = (wanted - table[below]) / (table[below + 1] - table[below])
    return (below + share).clamp(0, len(table) - 1).to(torch.float32)
