"""`diffusion4k dataset caption`: captions by a vision-language model."""

from pathlib import Path
from typing import Annotated

import typer

from diffusion4k.cli.endpoint import (
    Concurrency,
    Detail,
    Estimate,
    Longest,
    Model,
    Price,
    Quality,
    RateLimit,
    Retries,
    Timeout,
    Url,
    settings_of,
)
from diffusion4k.endpoint import defaults

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
    endpoint: Url = defaults.URL,
    model: Model = defaults.MODEL,
    longest: Longest = defaults.LONGEST,
    quality: Quality = defaults.QUALITY,
    detail: Detail = defaults.DETAIL,
    concurrency: Concurrency = defaults.CONCURRENCY,
    requests_per_minute: RateLimit = None,
    tokens_per_minute: RateLimit = None,
    timeout: Timeout = defaults.TIMEOUT,
    retries: Retries = defaults.RETRIES,
    prompt: Annotated[
        str | None,
        typer.Option(help="Prompt for the model, in place of the paper's sentence."),
    ] = None,
    prefix: Annotated[
        str, typer.Option(help="Text put before each new caption, such as a trigger word.")
    ] = "",
    budget: Annotated[
        float | None, typer.Option(help="Dollars that all runs in this folder may spend.")
    ] = None,
    input_price: Price = None,
    output_price: Price = None,
    batch: Annotated[
        bool, typer.Option("--batch", help="Batch API: half the price, within 24 hours.")
    ] = False,
    max_words: Annotated[
        int, typer.Option(help="A longer caption is flagged.")
    ] = defaults.CAPTION_WORDS,
    tries: Annotated[
        int, typer.Option(help="Largest number of answers to pay for when they are flagged.")
    ] = defaults.TRIES,
    keep_flagged: Annotated[
        bool, typer.Option("--keep-flagged", help="Accept refusals and long captions, too.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Caption pictures that have a caption, too.")
    ] = False,
    estimate: Estimate = False,
) -> None:
    """Caption the pictures of a folder, by default with the prompt of Diffusion-4K.

    The key is read from the environment variable OPENAI_API_KEY. The same command continues after
    any stop; paid answers are in DIR/captions.sqlite and are not paid for again. Exits with 1 if a
    picture is left without a caption.
    """
    from diffusion4k.curation.captions.publish import caption_folder, estimate_folder
    from diffusion4k.curation.captions.run import CaptioningStopped
    from diffusion4k.curation.captions.settings import CaptionSettings

    settings = settings_of(
        CaptionSettings,
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
        **({} if prompt is None else {"prompt": prompt}),
    )
    if estimate:
        typer.echo(estimate_folder(folder, settings, overwrite=overwrite))
        return
    try:
        report = caption_folder(folder, settings, overwrite=overwrite, prefix=prefix)
    except CaptioningStopped as stopped:
        typer.echo(stopped.report.summary)
        raise
    for line in report.lines():
        typer.echo(line)
    raise typer.Exit(1 if report.without_caption else 0)
