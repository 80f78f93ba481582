"""Options of the verbs that ask a model behind an address."""

from typing import Annotated, TypeAlias

import typer

from diffusion4k.cli.section_options import FromOptions
from diffusion4k.endpoint import defaults
from diffusion4k.endpoint.settings import EndpointSettings, ImageSettings

__all__ = ["CaptionEndpoint", "CaptionImage", "Estimate", "JudgeEndpoint", "JudgeImage"]

_NAMES = {"url": "--endpoint", "max_output_tokens": "--max-tokens"}

CaptionEndpoint: TypeAlias = Annotated[
    EndpointSettings,
    FromOptions(
        "Endpoint",
        key="endpoint",
        names=_NAMES,
        leave_out=("max_output_tokens", "poll"),
        defaults=EndpointSettings(),
    ),
]
JudgeEndpoint: TypeAlias = Annotated[
    EndpointSettings,
    FromOptions(
        "Endpoint",
        key="endpoint",
        names=_NAMES,
        leave_out=("batch", "poll"),
        defaults=EndpointSettings(max_output_tokens=defaults.JUDGE_TOKENS),
    ),
]
CaptionImage: TypeAlias = Annotated[
    ImageSettings, FromOptions("Images as they are sent", key="image", defaults=ImageSettings())
]
JudgeImage: TypeAlias = Annotated[
    ImageSettings,
    FromOptions(
        "Images as they are sent",
        key="image",
        defaults=ImageSettings(quality=defaults.JUDGE_QUALITY),
    ),
]
Estimate: TypeAlias = Annotated[
    bool, typer.Option("--estimate", help="Only report what it would cost; nothing is sent.")
]
