"""PickScore: which picture people would pick for a prompt; about 15 to 25.

    PickScore = s cos(e, t)     e, t: embeddings of picture and prompt, s: the model's own scale

A CLIP ViT-H/14 fine-tuned on the choices of Pick-a-Pic's users. The model card's protocol: prompts
cut at 77 tokens, pictures at 224 pixels, the score before the softmax; mean over the pictures.
Differences of a few tenths count: s is about 100, and a difference of 1 in score is odds of e to 1.

Source: Kirstain et al., arXiv 2305.01569; yuvalkirstain/PickScore_v1 (its folder holds the
tokenizer of laion/CLIP-ViT-H-14-laion2B-s32B-b79K).
"""

from diffusion4k.config.types import Section, Text
from diffusion4k.metrics.clip import Clip
from diffusion4k.metrics.clip_score import prompt_of
from diffusion4k.metrics.images import ImageLike, as_pil
from diffusion4k.metrics.measure import Column, Found, Mean, Measure, MeasureSetup
from diffusion4k.metrics.picture import MeasuredImage

__all__ = ["PickScoreMeasure", "pick_score"]


def pick_score(image: ImageLike, prompt: str, model: Clip) -> float:
    """The score of one picture for one prompt."""
    return model.scale * float(model.embed(as_pil(image)) @ model.embed_text(prompt))


class PickScoreSection(Section):
    """Weights of PickScore."""

    pickscore: Text | None = None
    """yuvalkirstain/PickScore_v1."""


class PickScoreMeasure(Measure):
    """PickScore of each picture."""

    name = "pickscore"
    columns: tuple[Column, ...] = (Mean("pickscore", "PickScore", "higher", 2),)
    needs_prompt = True
    position = 180
    section = PickScoreSection

    def __init__(self, model: Clip) -> None:
        self._model = model
        self.protocol = f"PickScore, prompts cut, weights {model.fingerprint()}"

    @classmethod
    def make(cls, setup: MeasureSetup) -> "PickScoreMeasure":
        """By the model that `pickscore` names."""
        return cls(Clip(setup.weights("pickscore"), setup.device))

    def __call__(self, picture: MeasuredImage) -> Found:
        return Found({"pickscore": pick_score(picture.pil, prompt_of(picture), self._model)})
