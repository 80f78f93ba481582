"""What decides about captions, and the prompt with which those of Aesthetic-4K were written."""

from typing import Annotated

from pydantic import Field, StrictBool

from diffusion4k.config.types import Count, Section, Text
from diffusion4k.endpoint import defaults
from diffusion4k.endpoint.settings import EndpointSettings, ImageSettings

__all__ = ["PROMPT", "CaptionSettings"]

PROMPT = (
    "Directly describe with brevity and as brief as possible the scene or characters without any "
    "introductory phrase like ‘This image shows’, ‘In the scene’, ‘This image depicts’ or similar "
    "phrases. Just start describing the scene please."
)
"""Diffusion-4K, supplement, Table 11, row "Image Caption", letter by letter as it is printed there,
typographic quotation marks included: these are part of the only text that is published."""


class CaptionSettings(Section):
    """Endpoint, picture, prompt, and which answers are taken for captions."""

    endpoint: EndpointSettings = EndpointSettings()
    image: ImageSettings = ImageSettings()
    prompt: Text = PROMPT
    most_words: Count = defaults.CAPTION_WORDS
    tries: Annotated[Count, Field(le=10)] = defaults.TRIES
    """Answers to pay for, at most, when they are flagged."""
    keep_flagged: StrictBool = False
    """Take the last answer even if it is flagged, unless it is empty."""
