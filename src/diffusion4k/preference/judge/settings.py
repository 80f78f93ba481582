"""What decides about judgements."""

from typing import Annotated

from pydantic import Field

from diffusion4k.config.types import Count, Section
from diffusion4k.endpoint.settings import EndpointSettings, ImageSettings

__all__ = ["JudgeSettings"]

_REASONS = 500
"""Output tokens that three verdicts with their reasons surely fit in; GPT-4o takes about 200."""


class JudgeSettings(Section):
    """Endpoint, how the images are sent, and how often is asked."""

    endpoint: EndpointSettings = EndpointSettings(max_output_tokens=_REASONS)
    image: ImageSettings = ImageSettings(quality=95)
    patches: Annotated[int, Field(strict=True, ge=0, le=64)] = 0
    """Places at native size that decide about fine details; 0: the whole image does."""
    patch_side: Annotated[Count, Field(ge=64, le=2048)] = 768
    """Pixels; GPT-4o sees 768 pixels of the shorter side, so such a patch loses nothing."""
    tries: Annotated[Count, Field(le=10)] = 3
    """Answers to pay for, at most, when they cannot be read."""
