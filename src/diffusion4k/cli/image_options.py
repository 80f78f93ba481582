"""Options of an image, which `generate` makes and `plan` plans."""

from typing import Annotated, TypeAlias

import typer

__all__ = [
    "IMAGE",
    "Direct",
    "Draft",
    "Factor",
    "Guidance",
    "Height",
    "LowBands",
    "MaxMemory",
    "Positions",
    "StageSteps",
    "StageStrength",
    "Stages",
    "Steps",
    "Width",
    "Window",
]

IMAGE, _STAGES = "Image", "Stages of an image"

Width: TypeAlias = Annotated[
    int | None, typer.Option(help="Pixels; by default the model's own.", rich_help_panel=IMAGE)
]
Height: TypeAlias = Annotated[
    int | None, typer.Option(help="Pixels; by default the model's own.", rich_help_panel=IMAGE)
]
Steps: TypeAlias = Annotated[
    int | None,
    typer.Option(help="Sampling steps; by default the model's own.", rich_help_panel=IMAGE),
]
Guidance: TypeAlias = Annotated[
    float | None,
    typer.Option(help="Guidance scale; by default the model's own.", rich_help_panel=IMAGE),
]
Factor: TypeAlias = Annotated[
    int | None,
    typer.Option(
        help="Pixels a side of one latent: 16 (default) or the autoencoder's own 8; Sana: 32.",
        rich_help_panel=IMAGE,
    ),
]
Positions: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Beyond the training size: ntk or yarn (flux), extend or interpolate (sd3).",
        rich_help_panel=IMAGE,
    ),
]
MaxMemory: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Limit for the decoder's feature maps, e.g. 2GiB; by default none.",
        rich_help_panel=IMAGE,
    ),
]

Stages: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Longer sides in pixels, growing: a draft, then each enlarged, e.g. 1024,2048.",
        rich_help_panel=_STAGES,
    ),
]
Draft: TypeAlias = Annotated[
    int | None,
    typer.Option(
        help="Longer side of a draft, which is doubled until the size is reached.",
        rich_help_panel=_STAGES,
    ),
]
Direct: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--direct",
        help="Not in stages, whatever the model's default.",
        rich_help_panel=_STAGES,
    ),
]
StageStrength: TypeAlias = Annotated[
    float | None,
    typer.Option(
        help="Share of the steps that stages after the draft make again.",
        rich_help_panel=_STAGES,
    ),
]
StageSteps: TypeAlias = Annotated[
    int | None,
    typer.Option(
        help="Steps of the later stages' schedule; by default the model's own.",
        rich_help_panel=_STAGES,
    ),
]
Window: TypeAlias = Annotated[
    int | None,
    typer.Option(
        help="Tokens a side that later stages see at once; 0: the whole image.",
        rich_help_panel=_STAGES,
    ),
]
LowBands: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="How later stages keep to the one before: off, constant, falling or replaced.",
        rich_help_panel=_STAGES,
    ),
]
