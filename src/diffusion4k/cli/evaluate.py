"""`diffusion4k evaluate`: measure a folder of images."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["register"]

EPILOG = """Examples:

  diffusion4k evaluate images --out results.json

  diffusion4k evaluate images --reference photographs --cache .measured
"""


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(epilog=EPILOG)(evaluate)


def evaluate(
    folder: Annotated[Path, typer.Argument(help="Folder of images to measure.")],
    reference: Annotated[
        Path | None, typer.Option(help="Folder of real photographs for the Fréchet distances.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Results file (JSON).")] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out broken images and exit with 0.")
    ] = False,
    reencode: Annotated[
        bool, typer.Option("--reencode", help="Weigh every image as a new JPEG of quality 95.")
    ] = False,
    patch_size: Annotated[
        int, typer.Option(help="Side of the patches of FD-EffNet-patch, in pixels.")
    ] = 224,
    patches_per_image: Annotated[int, typer.Option(help="At most so many patches per image.")] = 64,
    cache: Annotated[
        Path | None, typer.Option(help="Folder that keeps measurements, to go on or to reuse.")
    ] = None,
) -> None:
    """Measure images: GLCM Score and entropy, Compression Ratio, Fréchet distance."""
    from diffusion4k.errors import Diffusion4kError, UsageError
    from diffusion4k.metrics import report
    from diffusion4k.metrics.evaluate import evaluate as run
    from diffusion4k.metrics.evaluate import list_images
    from diffusion4k.metrics.weight_free import Settings

    if out is not None and out.is_dir():
        raise UsageError(f"--out {out}: is a folder; name a file such as {out / 'results.json'}")
    settings = Settings(reencode, patch_size, patches_per_image)
    total = sum(len(list_images(path)) for path in (folder, reference) if path is not None)
    with report.progress(total) as on_image:
        result = run(folder, reference, settings=settings, cache=cache, on_image=on_image)
    report.show(result)
    if out is not None:
        result.save(out)
        typer.echo(f"results: {out}")
    if result.bad:
        count = f"{len(result.bad)} of {total} images could not be measured: "
        named = "; ".join(result.bad[:5]) + ("; ..." if len(result.bad) > 5 else "")
        if not skip_bad:
            raise Diffusion4kError(f"{count}{named}; replace them, or pass --skip-bad")
        typer.echo(f"skipped {count}{named}", err=True)
