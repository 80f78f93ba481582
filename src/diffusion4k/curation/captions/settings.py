"""What decides about captions."""

from typing import Annotated

from pydantic import Field, StrictBool

from diffusion4k.config.types import Count, Section, Text
from diffusion4k.curation.captions.prompt import PROMPT
from diffusion4k.endpoint.settings import EndpointSettings, ImageSettings

__all__ = ["CaptionSettings"]


class CaptionSettings(Section):
    """Endpoint, picture, prompt, and which answers are taken for captions."""

    endpoint: EndpointSettings = EndpointSettings()
    image: ImageSettings = ImageSettings()
    prompt: Text = PROMPT
    most_words: Count = 80
    """A longer caption is flagged; those of Aesthetic-4K have about 25 words."""
    tries: Annotated[Count, Field(le=10)] = 3
    """Answers to pay for, at most, when they are flagged."""
    keep_flagged: StrictBool = False
    """Take the last answer even if it is flagged, unless it is empty."""
