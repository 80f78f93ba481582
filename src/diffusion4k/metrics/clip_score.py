"""CLIPScore: how well a picture and its prompt match.

    CLIPScore = 100 max(0, cos(e, t))     e, t: CLIP's embeddings of the picture and of the prompt

The protocol of Diffusion-4K: openai/clip-vit-base-patch16, factor 100, mean over the pictures.
(Hessel et al. scale by 2.5 instead and use ViT-B/32: other papers' numbers may be of that.) CLIP
reads no more than 77 tokens; `clip` says what becomes of longer prompts, and the share of
prompts that were longer stands beside the score.

Source: Hessel et al., arXiv 2104.08718.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from diffusion4k.config.types import Section, Text
from diffusion4k.errors import Diffusion4kError
from diffusion4k.metrics.clip import Clip, LongTexts
from diffusion4k.metrics.images import ImageLike, as_pil
from diffusion4k.metrics.measure import Column, Found, Mean, Measure, MeasureSetup
from diffusion4k.metrics.picture import MeasuredImage

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["ClipScoreMeasure", "ClipScores", "clip_score", "clip_scores", "prompt_of"]


def clip_score(image: "Tensor", text: "Tensor") -> float:
    """0 to 100, of two embeddings `(D,)` of length one."""
    return 100 * max(0.0, float(image @ text))


@dataclass(frozen=True)
class ClipScores:
    """Scores of pictures, and how many of their prompts were longer than the model reads."""

    scores: list[float]
    long_prompts: int

    @property
    def mean(self) -> float:
        """CLIPScore of them all."""
        return float(np.mean(self.scores))


def clip_scores(
    pairs: Iterable[tuple[ImageLike, str]], clip: Clip, long: LongTexts = "cut"
) -> ClipScores:
    """Scores of pairs of picture and prompt."""
    scores, count = [], 0
    for image, prompt in pairs:
        scores.append(clip_score(clip.embed(as_pil(image)), clip.embed_text(prompt, long)))
        count += clip.is_long(prompt)
    return ClipScores(scores, count)


class ClipSection(Section):
    """Weights of CLIPScore."""

    clip: Text | None = None
    """Model for CLIPScore: openai/clip-vit-base-patch16."""
    long_prompts: LongTexts = "cut"


class ClipScoreMeasure(Measure):
    """CLIPScore of each picture, and whether its prompt was longer than CLIP reads (1 or 0)."""

    name = "clip_score"
    columns: tuple[Column, ...] = (
        Mean("clip_score", "CLIPScore", "higher", 2),
        Mean("clip_long_prompts", "prompts over 77 tokens", "", 2),
    )
    needs_prompt = True
    position = 160
    section = ClipSection

    def __init__(self, clip: Clip, long: LongTexts = "cut") -> None:
        self._clip, self._long = clip, long
        self.protocol = f"CLIPScore, long prompts: {long}, weights {clip.fingerprint()}"

    @classmethod
    def make(cls, setup: MeasureSetup) -> "ClipScoreMeasure":
        """By the model that `clip` names."""
        model = Clip(setup.weights("clip"), setup.device)
        return cls(model, setup.section(ClipSection).long_prompts)

    def __call__(self, picture: MeasuredImage) -> Found:
        prompt = prompt_of(picture)
        found = clip_scores([(picture.pil, prompt)], self._clip, self._long)
        return Found({"clip_score": found.mean, "clip_long_prompts": float(found.long_prompts)})


def prompt_of(picture: MeasuredImage) -> str:
    """The picture's prompt.

    Raises:
        Diffusion4kError: it has none.
    """
    if not picture.prompt or not picture.prompt.strip():
        raise Diffusion4kError(f"{picture.path}: has no prompt to match")
    return picture.prompt
