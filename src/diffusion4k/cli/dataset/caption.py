"""`diffusion4k dataset caption`: captions by a vision-language model."""

from pathlib import Path
from typing import Annotated

import typer

from diffusion4k.cli.endpoint import CaptionEndpoint, CaptionImage, Estimate
from diffusion4k.cli.section_options import section_of_options, with_section_options
from diffusion4k.endpoint import defaults

__all__ = ["EXAMPLE", "caption"]

EXAMPLE = """Examples:

diffusion4k dataset caption photographs --estimate

diffusion4k dataset caption photographs --budget 5

diffusion4k dataset caption photographs --endpoint http://localhost:8000/v1 --model qwen-vl
"""


@with_section_options
def caption(
    folder: Annotated[
        Path,
        typer.Argument(help="Folder of pictures, or one that dataset build made.", metavar="DIR"),
    ],
    prompt: Annotated[
        str | None,
        typer.Option(help="Prompt for the model, in place of the paper's sentence."),
    ] = None,
    prefix: Annotated[
        str, typer.Option(help="Text put before each new caption, such as a trigger word.")
    ] = "",
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
    *,
    endpoint: CaptionEndpoint,
    image: CaptionImage,
) -> None:
    """Caption the pictures of a folder, by default with the prompt of Diffusion-4K.

    The key is read from the environment variable OPENAI_API_KEY. The same command continues after
    any stop; paid answers are in DIR/captions.sqlite and are not paid for again. Exits with 1 if a
    picture is left without a caption.
    """
    from diffusion4k.curation.captions.publish import caption_folder, estimate_folder
    from diffusion4k.curation.captions.run import CaptioningStopped
    from diffusion4k.curation.captions.settings import CaptionSettings

    settings = section_of_options(
        CaptionSettings,
        endpoint=endpoint,
        image=image,
        most_words=max_words,
        tries=tries,
        keep_flagged=keep_flagged,
        prompt=prompt,
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
