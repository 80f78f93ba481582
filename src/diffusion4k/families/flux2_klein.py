"""FLUX.2 klein of 4B and 9B, and their base models (Black Forest Labs, 2026).

A smaller FLUX.2 (see `flux2`) whose text encoder is Qwen3, of 4B or 8B. The base models are guided
by a second prediction; klein itself was distilled to 4 steps and takes no guidance. Nothing but
`is_distilled` in the index of their folders tells them apart.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from diffusion4k.families.base import Checkpoint, Defaults, GuidanceKind
from diffusion4k.families.flux2 import FLUX2_PARTS, NON_COMMERCIAL, Flux2Family
from diffusion4k.models.folder import model_index

__all__ = ["Flux2Klein"]

_FAST = Defaults(steps=4, guidance=0.0, width=2048, height=2048)


class Flux2Klein(Flux2Family):
    """Family of `Flux2KleinPipeline` folders; see `families.base.Family`."""

    name = "flux2-klein"
    pipeline_class = "Flux2KleinPipeline"
    guides_in_turn = True
    components: ClassVar[Mapping[str, tuple[str, ...]]] = FLUX2_PARTS | {
        "text_encoder": ("transformers.Qwen3Model", "Qwen3ForCausalLM"),
        "tokenizer": ("transformers.Qwen2Tokenizer",),
    }
    relatives: ClassVar[Mapping[str, str]] = {
        "Flux2KleinKVPipeline": "keeps what it reads of reference pictures from step to step",
        "Flux2KleinInpaintPipeline": "fills in a part of a picture that it is given",
    }
    checkpoints = (
        Checkpoint("black-forest-labs/FLUX.2-klein-4B", "Apache-2.0", defaults=_FAST),
        Checkpoint("black-forest-labs/FLUX.2-klein-base-4B", "Apache-2.0"),
        Checkpoint("black-forest-labs/FLUX.2-klein-9B", NON_COMMERCIAL, gated=True, defaults=_FAST),
        Checkpoint("black-forest-labs/FLUX.2-klein-base-9B", NON_COMMERCIAL, gated=True),
    )

    def defaults_for(self, transformer: dict[str, Any], scheduler: dict[str, Any]) -> Defaults:
        """The base models: 50 steps at guidance 4.0, 2048x2048."""
        return Defaults(50, 4.0, width=self.default_side, height=self.default_side)

    def usual_defaults(self, model: Path) -> Defaults:
        """4 steps without guidance where the model was distilled."""
        return _FAST if _is_distilled(model) else super().usual_defaults(model)

    def guidance_kind(self, model: Path) -> GuidanceKind:
        """None in distilled models."""
        return "none" if _is_distilled(model) else "classifier-free"

    def spatial_latents(self, latents: Tensor, autoencoder: Any, width: int, height: int) -> Tensor:
        """The stock pipeline returns them as its autoencoder decodes them, not normalised."""
        # In float32, so that what is decoded is exactly what was returned.
        return self.normalised(autoencoder, latents.float())


def _is_distilled(model: Path) -> bool:
    return bool(model_index(model).get("is_distilled"))
