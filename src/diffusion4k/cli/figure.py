"""`diffusion4k figure`: the figures of the paper's supplement, from folders of images."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from diffusion4k.support.wording import counted

if TYPE_CHECKING:
    from diffusion4k.imagesets.models import ImageSetEntry

__all__ = ["register"]

_SIDE_BY_SIDE = """Examples:

  diffusion4k figure side-by-side images photographs --out side-by-side.png

  diffusion4k figure side-by-side PixArt=images ours=photographs --patch 0,0,64 --patch 96,96,64
"""

_ABLATION = """Example:

  diffusion4k figure ablation images photographs --out ablation.pdf
"""

_GALLERY = """Example:

  diffusion4k figure gallery pocket --columns 2 --out gallery.jpg
"""

_VARIATIONS = """Example:

  diffusion4k generate "a corgi" --seed 0 --seed 1 --width 256 --height 256 --out corgis

  diffusion4k figure variations corgis --out variations.png
"""

_TEXT = """Example:

  diffusion4k generate 'a sign that says "open"' --width 256 --height 256 --out signs

  diffusion4k figure text signs --out text.png
"""

_RECONSTRUCTIONS = """Example:

  diffusion4k figure reconstructions pocket --vae pocket-f8 --vae pocket --out reconstructions.png
"""

Folder: TypeAlias = Annotated[
    Path, typer.Argument(help="Folder of images; pocket: the bundled ones.", show_default=False)
]
Images: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--image", help="File name without its ending; several times. By default all."),
]
Match: TypeAlias = Annotated[
    str, typer.Option(help="What images of one row share: name, prompt (and seed), or auto.")
]
Most: TypeAlias = Annotated[int, typer.Option(help="Largest number of prompts.", min=1)]
Out: TypeAlias = Annotated[Path, typer.Option(help="A .png, .jpg or .pdf file.")]
Patches: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--patch",
        help="X,Y,SIDE in pixels of the first folder's images; several times. By default the two "
        "regions with most detail.",
    ),
]
Width: TypeAlias = Annotated[int, typer.Option(help="Width of the figure, pixels.")]


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    group = typer.Typer(no_args_is_help=True, help="Draw figures: PNG, JPEG or PDF.")
    group.command(epilog=_SIDE_BY_SIDE)(side_by_side)
    group.command(epilog=_ABLATION)(ablation)
    group.command(epilog=_GALLERY)(gallery)
    group.command(epilog=_VARIATIONS)(variations)
    group.command(epilog=_TEXT)(text)
    group.command(epilog=_RECONSTRUCTIONS)(reconstructions)
    app.add_typer(group, name="figure")


def side_by_side(
    folders: Annotated[
        list[str],
        typer.Argument(
            help="Two to six folders of images, each FOLDER or NAME=FOLDER; ours last.",
            metavar="[NAME=]FOLDER...",
            show_default=False,
        ),
    ],
    patch: Patches = None,
    image: Images = None,
    match: Match = "auto",
    most: Most = 4,
    width: Width = 2400,
    out: Out = Path("side-by-side.png"),
) -> None:
    """Images of the same prompts, with the same regions marked and enlarged (Fig. 7 and 8)."""
    _draw_pairs(folders, patch or [], image or [], match=match, most=most, width=width, out=out)


def ablation(
    without: Annotated[Path, typer.Argument(help="Images made without it.", show_default=False)],
    with_: Annotated[
        Path, typer.Argument(metavar="WITH", help="Images made with it.", show_default=False)
    ],
    name: Annotated[str, typer.Option(help="Name of what is left out.")] = "WLF",
    patch: Patches = None,
    image: Images = None,
    match: Match = "auto",
    most: Most = 4,
    width: Width = 2400,
    out: Out = Path("ablation.png"),
) -> None:
    """Images made without and with wavelet-based fine-tuning, patches enlarged (Fig. 9)."""
    folders = [f"without {name}={without}", f"with {name}={with_}"]
    _draw_pairs(folders, patch or [], image or [], match=match, most=most, width=width, out=out)


def gallery(
    folder: Folder,
    image: Images = None,
    most: Annotated[int, typer.Option(help="Largest number of images.", min=1)] = 12,
    columns: Annotated[int, typer.Option(help="Images in a line.", min=1)] = 3,
    width: Width = 2400,
    out: Out = Path("gallery.png"),
) -> None:
    """Images with their prompts below (Fig. 10)."""
    from diffusion4k.benchmark.figures.canvas import check_output, save_figure
    from diffusion4k.benchmark.figures.gallery import draw_gallery

    check_output(out, width)
    found = _entries_of(folder, image)
    entries = found[:most]
    save_figure(draw_gallery(entries, columns=columns, width=width), out)
    typer.echo(out)
    _say_left_out(len(entries), len(found), "image")


def variations(
    folder: Folder,
    image: Images = None,
    most: Most = 4,
    width: Width = 2400,
    out: Out = Path("variations.png"),
) -> None:
    """Images of one prompt in several aspect ratios and seeds, a line for each prompt (Fig. 11)."""
    from diffusion4k.benchmark.figures.canvas import check_output, save_figure
    from diffusion4k.benchmark.figures.variations import draw_variations, variations_of

    check_output(out, width)
    found = variations_of(_entries_of(folder, image))
    groups = found[:most]
    save_figure(draw_variations(groups, width=width), out)
    typer.echo(out)
    _say_left_out(len(groups), len(found), "prompt")


def text(
    folder: Folder,
    image: Images = None,
    most: Annotated[int, typer.Option(help="Largest number of images.", min=1)] = 12,
    columns: Annotated[int, typer.Option(help="Images in a line.", min=1)] = 3,
    width: Width = 2400,
    out: Out = Path("text.png"),
) -> None:
    """Images whose prompts ask for text in quotation marks, and what can be read (Fig. 12).

    With Tesseract or EasyOCR installed the share of correct characters and words is reported.
    """
    from diffusion4k.benchmark.figures.canvas import check_output, save_figure
    from diffusion4k.benchmark.figures.spelled_text import (
        draw_spelled_text,
        find_reader,
        read_entries,
        with_text,
    )

    check_output(out, width)
    found = with_text(_entries_of(folder, image))
    entries = found[:most]
    reader = find_reader()
    readings = []
    if isinstance(reader, str):
        typer.echo(reader, err=True)
    else:
        readings = read_entries(entries, reader)
        for name in ("characters", "words"):
            mean = sum(getattr(reading, name) for reading in readings) / len(readings)
            typer.echo(f"{name} right: {mean:.1%} (mean of {counted(len(readings), 'image')})")
    save_figure(draw_spelled_text(entries, readings, columns=columns, width=width), out)
    typer.echo(out)
    _say_left_out(len(entries), len(found), "image")


def reconstructions(
    folder: Annotated[
        Path,
        typer.Argument(
            help="Folder of photographs, or pocket for the bundled ones.", show_default=False
        ),
    ],
    vae: Annotated[
        list[str] | None,
        typer.Option(help="As in `diffusion4k vae eval`; several times; by default pocket."),
    ] = None,
    size: Annotated[int, typer.Option(help="Side, pixels, a multiple of 32.")] = 512,
    image: Images = None,
    most: Annotated[int, typer.Option(help="Largest number of photographs.", min=1)] = 4,
    width: Width = 1200,
    out: Out = Path("reconstructions.png"),
) -> None:
    """Photographs and their reconstructions, with regions and errors enlarged (Fig. 16)."""
    from diffusion4k.benchmark.figures.canvas import check_output, save_figure
    from diffusion4k.data.sizes import check_multiple

    check_output(out, width)
    check_multiple("--size", size)
    found = _entries_of(folder, image)
    paths = [entry.path for entry in found[:most]]

    from diffusion4k.benchmark.figures.reconstructions import draw_reconstructions
    from diffusion4k.reconstruction.evaluate import Autoencoder

    networks = [Autoencoder(name) for name in dict.fromkeys(vae or ["pocket"])]
    save_figure(draw_reconstructions(paths, networks, size=size, width=width), out)
    typer.echo(out)
    _say_left_out(len(paths), len(found), "photograph")


def _draw_pairs(
    folders: Sequence[str],
    patches: Sequence[str],
    images: Sequence[str],
    *,
    match: str,
    most: int,
    width: int,
    out: Path,
) -> None:
    """Match the folders' images and write the figure."""
    from diffusion4k.errors import UsageError
    from diffusion4k.imagesets.models import named_folders, read_models

    named_folders(folders, 2, 6)

    from diffusion4k.benchmark.figures.canvas import check_output, save_figure
    from diffusion4k.benchmark.figures.side_by_side import (
        complete,
        draw_side_by_side,
        parse_patch,
    )
    from diffusion4k.imagesets.match import match_images

    if match not in ("auto", "name", "prompt"):
        raise UsageError(f"--match {match}: allowed auto, name or prompt")
    check_output(out, width)
    chosen = [parse_patch(patch) for patch in patches]
    models = read_models(folders, 2, 6)
    rows = match_images(models, match)  # type: ignore[arg-type]
    named = {row.first.name: row for row in rows}
    for name in images:
        if name not in named:
            raise UsageError(f"--image {name}: no such image in {models[0].folder}")
    found = complete([named[name] for name in images] if images else rows)
    rows = found[:most]
    figure = draw_side_by_side(rows, [m.name for m in models], patches=chosen, width=width)
    save_figure(figure, out)
    typer.echo(out)
    _say_left_out(len(rows), len(found), "prompt")


def _entries_of(folder: Path, images: Sequence[str] | None) -> "list[ImageSetEntry]":
    """The folder's images, or the named ones, in that order."""
    from diffusion4k.errors import UsageError
    from diffusion4k.imagesets.models import read_models

    entries = read_models([str(folder)], 1, 1)[0].entries
    named = {entry.name: entry for entry in entries}
    for name in images or ():
        if name not in named:
            raise UsageError(f"--image {name}: no such image in {folder}")
    return [named[name] for name in images] if images else entries


def _say_left_out(shown: int, there: int, what: str) -> None:
    """Report on standard error that a figure does not show everything."""
    if shown < there:
        typer.echo(f"{shown} of {counted(there, what)}; --most shows more", err=True)
