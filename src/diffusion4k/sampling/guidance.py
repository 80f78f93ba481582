r"""Classifier-free guidance within an interval of noise levels, one half at a time, or projected.

The stock pipelines ask the transformer for two predictions, with the prompt and with the negative
prompt, and push the first away from the second: most at once (`GuidedHalves`), some in two calls
(`GuidedTurns`). What stands between them here changes the two predictions so that what the pipeline
makes of them is what is wanted:

- *interval* (Kynkaanniemi et al., arXiv 2404.07724): outside of it the second prediction is not
  made. Both halves are the first one, which the pipeline's formula then leaves as it is;
- *apart*: the halves go through the network one after the other, in half of the activations;
- *projected* (Sadat et al., arXiv 2410.02416): both halves are the prediction that adaptive
  projected guidance gives (the second of two calls is what makes the formula come to it). In the
  paper's notation, for the clean latents D that the two predictions imply, with momentum beta,
  radius r and eta:

      delta_t = D_c - D_u + beta delta_(t-1),   delta = delta_t min(1, r / |delta_t|),
      D = D_c + (w - 1) (delta_orthogonal + eta delta_parallel),

  where parallel means along D_c: that part saturates colours more than it adds to the picture.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from diffusers.guiders.adaptive_projected_guidance import MomentumBuffer, normalized_guidance
from torch import Tensor

from diffusion4k.families.spatial import SpatialCall

__all__ = ["ETA", "MOMENTUM", "RADIUS", "GuidedHalves", "GuidedTurns", "ProjectedGuidance"]

ETA, MOMENTUM = 0.0, -0.5
"""As the paper has them for Stable Diffusion XL."""
RADIUS = 0.06
"""Of the root mean square: the paper's 15 for 4x128x128 latents, and the same at any size."""

Predict = Callable[[SpatialCall, Tensor, str], Tensor]
"""Predictions `(N, C', h, w)` for the samples `(N,)` of a call, and the name of these calls."""


class ProjectedGuidance:
    """Adaptive projected guidance of one image, whose momentum it keeps.

    Args:
        scale: the guidance scale w; 1 is none.
    """

    def __init__(
        self, scale: float, *, eta: float = ETA, radius: float = RADIUS, momentum: float = MOMENTUM
    ) -> None:
        self.scale, self.eta, self.radius = scale, eta, radius
        self._momentum = MomentumBuffer(momentum)

    def __call__(
        self, call: SpatialCall, samples: Tensor, conditional: Tensor, negative: Tensor
    ) -> Tensor:
        """The guided prediction `(N, C', h, w)` of two such, its first C channels changed.

        Args:
            samples: of the call, that the conditional predictions are for.
        """
        level, channels = call.level, call.latents.shape[1]
        latents = call.latents[samples].float()
        of_latents, of_prediction = (
            value[samples.to(value.device)].view(-1, 1, 1, 1).to(conditional.device)
            for value in (level.of_latents, level.of_prediction)
        )

        def clean(predicted: Tensor) -> Tensor:
            return of_latents * latents + of_prediction * predicted[:, :channels].float()

        guided = normalized_guidance(
            clean(conditional),
            clean(negative),
            self.scale - 1,
            self._momentum,
            self.eta,
            self.radius * math.sqrt(latents[0].numel()),
            use_original_formulation=True,
        )
        # The variance that some networks predict beside it stays as it is.
        changed = conditional.clone()
        changed[:, :channels] = (guided - of_latents * latents) / of_prediction
        return changed


@dataclass(frozen=True)
class GuidedHalves:
    """How the two predictions of a guided step are made.

    Args:
        prompt_first: whether the prompt's half comes before the negative prompt's.
        interval: sigma of the flow, lowest and highest, between which guidance acts.
        projected: in place of the usual formula.
        is_apart: whether one half is made after the other.
    """

    prompt_first: bool = False
    interval: tuple[float, float] | None = None
    projected: ProjectedGuidance | None = None
    is_apart: bool = False

    def predict(self, call: SpatialCall, predict: Predict) -> Tensor:
        """Both halves `(2B, C', h, w)` for the pipeline's formula."""
        halves = torch.arange(len(call.latents)).chunk(2)
        prompt, negative = halves if self.prompt_first else halves[::-1]
        if not _acts(call, self.interval):
            alone = predict(call, prompt, "prompt")
            return torch.cat([alone, alone])
        if self.is_apart:
            names = ("prompt", "negative") if self.prompt_first else ("negative", "prompt")
            each = [predict(call, *half) for half in zip(halves, names, strict=True)]
            both = torch.cat(each)
        else:
            both = predict(call, torch.cat(halves), "both")
        if self.projected is None:
            return both
        of_prompt, of_negative = both[prompt], both[negative]
        guided = self.projected(call, prompt, of_prompt, of_negative)
        return torch.cat([guided, guided])


class GuidedTurns:
    """How the two predictions of a guided step are made where the pipeline calls for one at a time.

    It calls for the prompt's first, and then for the negative prompt's.

    Args:
        scale: the guidance scale w of its formula.
        interval, projected: as in `GuidedHalves`.
    """

    def __init__(
        self,
        scale: float,
        interval: tuple[float, float] | None = None,
        projected: ProjectedGuidance | None = None,
    ) -> None:
        self.scale, self.interval, self.projected = scale, interval, projected
        self._of_prompt: Tensor | None = None

    def predict(self, call: SpatialCall, predict: Predict) -> Tensor:
        """The prediction `(B, C', h, w)` that this call is for."""
        samples = torch.arange(len(call.latents))
        if self._of_prompt is None:
            self._of_prompt = predict(call, samples, "prompt")
            return self._of_prompt
        of_prompt, self._of_prompt = self._of_prompt, None
        if not _acts(call, self.interval):
            return of_prompt
        of_negative = predict(call, samples, "negative")
        if self.projected is None:
            return of_negative
        guided = self.projected(call, samples, of_prompt, of_negative)
        # negative + w (prompt - negative) is the guided prediction then.
        return (guided - self.scale * of_prompt) / (1 - self.scale)


def _acts(call: SpatialCall, interval: tuple[float, float] | None) -> bool:
    return interval is None or interval[0] <= call.level.sigma[0].item() <= interval[1]
