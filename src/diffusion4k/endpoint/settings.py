"""What is said about an endpoint and about the pictures sent to it."""

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, ConfigDict, Field, StrictBool
from pydantic_core import PydanticCustomError

from diffusion4k.config.types import Address, Count, NonNegative, Positive, Section, Text
from diffusion4k.endpoint import defaults

__all__ = ["EndpointSettings", "ImageSettings"]


def _web_address(value: str) -> str:
    try:
        parts = urlsplit(value)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise PydanticCustomError("url", "Input should be an address like {a}", {"a": defaults.URL})
    if parts.username or parts.password or parts.query:
        # The value is shown in messages and stored in ledgers.
        raise PydanticCustomError(
            "url",
            "found with a user, password or query: leave it out, keys come from the environment",
        )
    return value.rstrip("/") if parts.path.strip("/") else f"{value.rstrip('/')}/v1"


class ImageSettings(Section):
    """How a picture is sent: upright, in sRGB, as a JPEG.

    GPT-4o looks at no more than 768 pixels of the shorter side, so that a longest side of 1536
    loses it nothing up to an aspect of 2 to 1. `detail: low` shows it 512 pixels for 85 tokens.
    """

    model_config = ConfigDict(use_attribute_docstrings=True)

    longest: Annotated[Count, Field(ge=64)] = defaults.LONGEST
    """Longer side of the images sent, pixels; smaller ones stay as they are."""
    quality: Annotated[Count, Field(le=95)] = defaults.QUALITY
    """JPEG quality of the images sent."""
    detail: Literal["low", "high"] = defaults.DETAIL
    """Detail in which the model sees images: low, high."""


class EndpointSettings(Section):
    """An endpoint, its model, and how hard and how dearly it may be used.

    The key comes from the environment variable OPENAI_API_KEY and from nowhere else.
    """

    model_config = ConfigDict(use_attribute_docstrings=True)

    url: Annotated[Address, AfterValidator(_web_address)] = defaults.URL
    """Address up to the version, such as http://localhost:8000/v1; without a path, /v1 is added.
    Any OpenAI-compatible server."""
    model: Text = defaults.MODEL
    """The model's name at the endpoint."""
    concurrency: Annotated[Count, Field(le=256)] = defaults.CONCURRENCY
    """Requests under way at a time."""
    requests_per_minute: Count | None = None
    """Rate limit."""
    tokens_per_minute: Count | None = None
    """Rate limit."""
    timeout: Positive = defaults.TIMEOUT
    """Seconds until a request without an answer is given up and sent again."""
    retries: Annotated[int, Field(strict=True, ge=0)] = defaults.RETRIES
    """How often a request is sent again, with waits of 0.5, 1, 2, ... seconds."""
    max_output_tokens: Count = defaults.OUTPUT_TOKENS
    """Longest answer, tokens."""
    input_price: NonNegative | None = None
    """Dollars per million tokens; known for GPT-4o."""
    output_price: NonNegative | None = None
    """Dollars per million tokens; known for GPT-4o."""
    budget: Positive | None = None
    """Dollars that all runs with one ledger, which lies beside the results, may spend together."""
    batch: StrictBool = False
    """Batch API: half the price, an answer within 24 hours."""
    poll: Positive = 30.0
    """Seconds between questions whether a batch is done."""
