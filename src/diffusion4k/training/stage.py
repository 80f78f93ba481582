r"""Training a stage of sampling: from the enlarged draft, noised, to the photograph.

Sampling begins a stage at noise level a with (1 - a) d + a epsilon, d being the latents of the
enlarged draft, which lack what the enlargement could not add. Plain flow matching never shows the
network that: at every level its input still holds a part of the photograph x's own detail, and of
a picture without any it makes a smooth one. The straight line from the stage's start to x,

    z = (1 - t/a) x + t/a ((1 - a) d + a epsilon),        0 < t < a,

is the same as z = (1 - t) x + t n, the line of flow matching, with the noise

    n = epsilon + (1 - a)/a (d - x).

So it is flow matching with another noise and with noise levels up to a: any objective is taken as
it is, and the sampler, which goes towards the clean latents, stays as it is. At t = 0 it ends with
detail as photographs have it. Compare the stages of pyramidal flow matching (Jin et al., arXiv
2410.05954).
"""

from torch import Tensor

from diffusion4k.data.loader import Batch
from diffusion4k.training.recipe.recipe import StageRecipe

__all__ = ["noise_for", "stage_noise"]


def noise_for(stage: StageRecipe | None, noise: Tensor, batch: Batch) -> Tensor:
    """The noise of a batch: as it was drawn, or n where a stage is trained."""
    drafts = batch["drafts"]
    if stage is None or drafts is None:
        return noise
    return stage_noise(noise, latents=batch["latents"], drafts=drafts, start=stage.start)


def stage_noise(noise: Tensor, *, latents: Tensor, drafts: Tensor, start: float) -> Tensor:
    """The noise n of the module's text; all of one shape, `start` in (0, 1)."""
    return noise + (1 - start) / start * (drafts - latents)
