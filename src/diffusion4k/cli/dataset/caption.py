"""`diffusion4k dataset caption`: captions by a vision-language model."""

from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = ["EXAMPLE", "caption"]

EXAMPLE = """Examples:

diffusion4k dataset caption photographs --estimate

diffusion4k dataset caption photographs --budget 5

diffusion4k dataset caption photographs --endpoint http://localhost:8000/v1 --model qwen-vl
"""


def caption(
    folder: Annotated[
        Path,
        typer.Argument(help="Folder of pictures, or one that dataset build made.", metavar="DIR"),
    ],
    endpoint: Annotated[
        str, typer.Option(help="Address up to the version; any OpenAI-compatible server.")
    ] = "https://api.openai.com/v1",
    model: Annotated[str, typer.Option(help="The model's name at the endpoint.")] = "gpt-4o",
    longest: Annotated[int, typer.Option(help="Longer side of what is sent, pixels.")] = 1536,
    quality: Annotated[int, typer.Option(help="JPEG quality of what is sent.")] = 90,
    detail: Annotated[str, typer.Option(help="How closely it is looked at: low, high.")] = "high",
    concurrency: Annotated[int, typer.Option(help="Requests under way at a time.")] = 8,
    requests_per_minute: Annotated[int | None, typer.Option(help="Rate limit.")] = None,
    tokens_per_minute: Annotated[int | None, typer.Option(help="Rate limit.")] = None,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for an answer.")] = 120.0,
    retries: Annotated[int, typer.Option(help="How often a failed request is sent again.")] = 6,
    budget: Annotated[
        float | None, typer.Option(help="Dollars that all runs in this folder may spend.")
    ] = None,
    input_price: Annotated[
        float | None, typer.Option(help="Dollars per million tokens; known for GPT-4o.")
    ] = None,
    output_price: Annotated[
        float | None, typer.Option(help="Dollars per million tokens; known for GPT-4o.")
    ] = None,
    batch: Annotated[
        bool, typer.Option("--batch", help="Batch API: half the price, within 24 hours.")
    ] = False,
    max_words: Annotated[int, typer.Option(help="A longer caption is flagged.")] = 80,
    tries: Annotated[
        int, typer.Option(help="Answers to pay for, at most, when they are flagged.")
    ] = 3,
    keep_flagged: Annotated[
        bool, typer.Option("--keep-flagged", help="Take refusals and long captions, too.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Caption pictures that have a caption, too.")
    ] = False,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Only say what it would cost; nothing is sent.")
    ] = False,
) -> None:
    """Caption the pictures of a folder with the prompt of Diffusion-4K.

    The key is read from the environment variable OPENAI_API_KEY. The same command goes on after
    any stop; what is paid is in DIR/captions.sqlite and is not paid again. Leaves with 1 if a
    picture is left without a caption.
    """
    from diffusion4k.curation.captions.publish import caption_folder, estimate_folder
    from diffusion4k.curation.captions.run import Stopped

    settings = _settings(
        endpoint={
            "url": endpoint,
            "model": model,
            "concurrency": concurrency,
            "requests_per_minute": requests_per_minute,
            "tokens_per_minute": tokens_per_minute,
            "timeout": timeout,
            "retries": retries,
            "budget": budget,
            "input_price": input_price,
            "output_price": output_price,
            "batch": batch,
        },
        image={"longest": longest, "quality": quality, "detail": detail},
        most_words=max_words,
        tries=tries,
        keep_flagged=keep_flagged,
    )
    if estimate:
        typer.echo(estimate_folder(folder, settings, overwrite=overwrite))
        return
    try:
        report = caption_folder(folder, settings, overwrite=overwrite)
    except Stopped as stopped:
        typer.echo(stopped.report.summary)
        raise
    for line in report.lines():
        typer.echo(line)
    raise typer.Exit(1 if report.without_caption else 0)


def _settings(**values: Any) -> Any:
    from pydantic import ValidationError

    from diffusion4k.config.problems import describe_problems
    from diffusion4k.curation.captions.settings import CaptionSettings
    from diffusion4k.errors import UsageError

    try:
        return CaptionSettings.model_validate(values)
    except ValidationError as error:
        raise UsageError(describe_problems(error, CaptionSettings)) from None
