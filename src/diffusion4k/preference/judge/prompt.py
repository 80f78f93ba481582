r"""What decides about judgements: the prompts with which Diffusion-4K had GPT-4o compare images.

Supplement, Table 11, row "Preference Study", word for word. Two things that print cannot say are
chosen here: the angle brackets (\langle, \rangle) are the characters < and >, and each numbered
line is a line of its own. The caption takes the place of the word in <prompt>, and its brackets
stay, so that it is clear where it ends.
"""

from typing import Annotated

from pydantic import Field

from diffusion4k.config.types import Count, Section
from diffusion4k.endpoint import defaults
from diffusion4k.endpoint.settings import EndpointSettings, ImageSettings
from diffusion4k.preference.study.questions import PAPER

__all__ = ["SYSTEM", "TEMPLATE", "JudgeSettings", "judge_text"]

SYSTEM = (
    "As an AI visual assistant, you are analyzing two specific images. When presented with a "
    "specific caption, it is required to evaluate visual aesthetics, prompt coherence and fine "
    "details."
)

_VERDICT = (
    "<the first image is better> or <the second image is better>. The reason is <give your reason "
    "here>."
)

TEMPLATE = "\n".join(
    [
        "The caption for the two images is: <prompt>. Please answer the following questions:",
        *(f"{i}. {question.title}: {question.text}" for i, question in enumerate(PAPER, 1)),
        "Please respond me strictly in the following format:",
        *(f"{i}. {question.title}: {_VERDICT}" for i, question in enumerate(PAPER, 1)),
    ]
)


def judge_text(prompt: str) -> str:
    """What is asked about two images made from `prompt`."""
    return TEMPLATE.replace("<prompt>", f"<{prompt}>", 1)


class JudgeSettings(Section):
    """Endpoint, how the images are sent, and how often is asked."""

    endpoint: EndpointSettings = EndpointSettings(max_output_tokens=defaults.JUDGE_TOKENS)
    image: ImageSettings = ImageSettings(quality=defaults.JUDGE_QUALITY)
    patches: Annotated[int, Field(strict=True, ge=0, le=64)] = 0
    """Regions at native size that decide about fine details; 0: the whole image does."""
    patch_side: Annotated[Count, Field(ge=64, le=2048)] = defaults.PATCH_SIDE
    tries: Annotated[Count, Field(le=10)] = defaults.TRIES
    """Answers to pay for, at most, when they cannot be read."""
