"""`diffusion4k cache`: an image folder to latents and text embeddings."""

from pathlib import Path
from typing import Annotated

import typer

from diffusion4k.support.wording import counted

__all__ = ["register"]

_EXAMPLE = """Example:

diffusion4k cache pocket --model pocket --out runs/cache --resolution 1024 --flip
"""


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command(epilog=_EXAMPLE)(cache)


def cache(
    folder: Annotated[
        Path, typer.Argument(help="An image folder with metadata.jsonl, or pocket (bundled).")
    ],
    out: Annotated[Path, typer.Option(help="The cache folder.")],
    resolution: Annotated[
        int, typer.Option(help="Shorter side in pixels, a multiple of 32.")
    ] = 1024,
    model: Annotated[
        str, typer.Option(help="pocket (bundled), a folder in diffusers layout, or a hub id.")
    ] = "pocket",
    buckets: Annotated[
        float | None,
        typer.Option(
            metavar="ASPECT",
            help="Keep shapes up to ASPECT:1, for example 2.4, at about RESOLUTION squared pixels.",
        ),
    ] = None,
    flip: Annotated[bool, typer.Option("--flip", help="Encode mirrored photographs too.")] = False,
    dtype: Annotated[
        str, typer.Option(help="Type of what is stored: float16, bfloat16 or float32.")
    ] = "float16",
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Report broken photographs and leave them out.")
    ] = False,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, ...; by default the GPU if there is one.")
    ] = None,
) -> None:
    """Encode photographs and captions once, so that training loads neither encoder.

    Existing entries that did not change are kept: a build that was stopped
    continues where it was. One cache folder serves one model at one resolution.
    """
    from diffusion4k.data.folder import photo_folder, scan_folder
    from diffusion4k.data.sizes import check_multiple
    from diffusion4k.families import family_of, resolve

    check_multiple("resolution", resolution)
    local = resolve(model)
    scan = scan_folder(photo_folder(folder))
    photos = scan.usable(skip_bad=skip_bad)

    from diffusion4k.data.cache import LatentCache, build_cache
    from diffusion4k.data.loader import LatentBatches

    report = build_cache(
        photos,
        model=local,
        family=family_of(local),
        cache=out,
        resolution=resolution,
        flip=flip,
        longest=buckets,
        dtype=dtype,
        skip_bad=skip_bad,
        device=device,
    )
    typer.echo(
        f"{out}: {counted(report.computed, 'photograph')} computed, {report.reused} reused, "
        f"{len(scan.problems) + len(report.skipped)} skipped"
    )
    if buckets is not None:
        for line in LatentBatches(LatentCache(out), batch_size=1, crop=resolution, seed=0).lines():
            typer.echo(line)
    if report.enlarged:
        typer.echo(
            f"{counted(report.enlarged, 'photograph')} below {resolution} pixels on "
            "the shorter side: enlarged",
            err=True,
        )
