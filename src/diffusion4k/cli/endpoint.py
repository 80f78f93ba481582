"""Options of the verbs that ask a model behind an address, and the settings made of them."""

from typing import TYPE_CHECKING, Annotated, TypeAlias, TypeVar

import typer

if TYPE_CHECKING:
    from diffusion4k.config.types import Section

__all__ = [
    "Concurrency",
    "Detail",
    "Estimate",
    "Longest",
    "Model",
    "Price",
    "Quality",
    "RateLimit",
    "Retries",
    "Timeout",
    "Url",
    "settings_of",
]

Kind = TypeVar("Kind", bound="Section")

Url: TypeAlias = Annotated[
    str, typer.Option(help="Address up to the version; any OpenAI-compatible server.")
]
Model: TypeAlias = Annotated[str, typer.Option(help="The model's name at the endpoint.")]
Longest: TypeAlias = Annotated[int, typer.Option(help="Longer side of the images sent, pixels.")]
Quality: TypeAlias = Annotated[int, typer.Option(help="JPEG quality of the images sent.")]
Detail: TypeAlias = Annotated[
    str, typer.Option(help="Detail in which the model sees images: low, high.")
]
Concurrency: TypeAlias = Annotated[int, typer.Option(help="Requests under way at a time.")]
RateLimit: TypeAlias = Annotated[int | None, typer.Option(help="Rate limit.")]
Timeout: TypeAlias = Annotated[float, typer.Option(help="Seconds to wait for an answer.")]
Retries: TypeAlias = Annotated[int, typer.Option(help="How often a failed request is sent again.")]
Price: TypeAlias = Annotated[
    float | None, typer.Option(help="Dollars per million tokens; known for GPT-4o.")
]
Estimate: TypeAlias = Annotated[
    bool, typer.Option("--estimate", help="Only report what it would cost; nothing is sent.")
]


def settings_of(kind: "type[Kind]", **values: object) -> "Kind":
    """The settings; a value that is not allowed is wrong usage, reported in one line."""
    from pydantic import ValidationError

    from diffusion4k.config.problems import describe_problems
    from diffusion4k.errors import UsageError

    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise UsageError(describe_problems(error, kind, values)) from None
