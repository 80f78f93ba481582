"""`diffusion4k vae`: the F=16 autoencoder."""

from pathlib import Path
from typing import Annotated

import typer

from diffusion4k.cli.arguments import key_values
from diffusion4k.cli.kinds import of_this_kind

__all__ = ["register"]

_TRAIN = """Examples:

diffusion4k vae train recipes/pocket-vae-sc.yaml

diffusion4k vae train recipes/pocket-vae-sc.yaml start=stride output=runs/stride
"""

_EVAL = """Examples:

diffusion4k vae eval photographs --vae pocket-f8 --vae pocket --size 512

diffusion4k vae eval photographs --vae runs/pocket-vae-sc/vae --size 512 --size 1024 --out compared
"""


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    group = typer.Typer(no_args_is_help=True, help="Train and measure F=16 autoencoders.")
    group.command(epilog=_TRAIN)(train)
    group.command("eval", epilog=_EVAL)(evaluate)
    app.add_typer(group, name="vae")


def train(
    recipe: Annotated[Path, typer.Argument(help="The run as a YAML file.", show_default=False)],
    overrides: Annotated[list[str] | None, key_values("recipe", "loss.wavelet=0.1")] = None,
    skip_bad: Annotated[
        bool,
        typer.Option(
            "--skip-bad", help="Leave out photographs that cannot be read or are too small."
        ),
    ] = False,
    changed_inputs: Annotated[
        bool,
        typer.Option(
            "--changed-inputs",
            help="Continue with other photographs or another teacher than before.",
        ),
    ] = False,
) -> None:
    """Train an F=16 autoencoder from a model's F=8 one, by a recipe.

    The same command resumes from the newest checkpoint of a run that was stopped or killed. The
    result, OUTPUT/vae, is an autoencoder folder in diffusers layout.
    """
    from diffusion4k.training.autoencoder.recipe import load_autoencoder_recipe

    with of_this_kind(recipe, "vae train"):
        checked = load_autoencoder_recipe(recipe, overrides)

    from diffusion4k.data.folder import metadata_of, photo_folder
    from diffusion4k.models.folder import resolve_autoencoder

    metadata_of(photo_folder(checked.data))
    resolve_autoencoder(checked.model)

    from diffusion4k.training.autoencoder.loop import train_autoencoder

    result = train_autoencoder(checked, skip_bad=skip_bad, changed_inputs=changed_inputs)
    typer.echo(result)


def evaluate(
    folder: Annotated[Path, typer.Argument(help="Folder of photographs.", show_default=False)],
    vae: Annotated[
        list[str] | None,
        typer.Option(
            help="pocket, pocket-f8, a folder, or a hub id; "
            "@8 behind it: at F=8. May be given several times; by default pocket."
        ),
    ] = None,
    size: Annotated[
        list[int] | None,
        typer.Option(help="Shorter side, pixels, a multiple of 32; several times; by default 512."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder that keeps results.")] = Path("vae-eval"),
    inception: Annotated[
        str | None,
        typer.Option(help="Weights of FID's Inception-v3, for rFID: file or OWNER/NAME/FILE."),
    ] = None,
    lpips: Annotated[
        str | None,
        typer.Option(help="torchvision's weights of AlexNet or VGG16, for LPIPS: as above."),
    ] = None,
    lpips_network: Annotated[str, typer.Option(help="alex or vgg.")] = "alex",
    lpips_heads: Annotated[
        str | None,
        typer.Option(help="LPIPS's heads; by default those of the installed package lpips."),
    ] = None,
    max_memory: Annotated[
        str | None, typer.Option(help="Limit for feature maps, e.g. 2GiB; by default none.")
    ] = None,
    allow_enlarging: Annotated[
        bool, typer.Option("--allow-enlarging", help="Use photographs that are too small, too.")
    ] = False,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out photographs that cannot be used.")
    ] = False,
) -> None:
    """Measure how well autoencoders reconstruct photographs, side by side.

    Reports PSNR, SSIM, NMSE and EffNet-PD per image and their means with 95% intervals, Fréchet
    distances of EfficientNet-Lite0 features, results.json and a figure; with weights also LPIPS
    and rFID.
    """
    from diffusion4k.errors import UsageError

    if lpips_network not in ("alex", "vgg"):
        raise UsageError(f"--lpips-network {lpips_network}: allowed alex or vgg")

    from diffusion4k.cli.early import require_folder
    from diffusion4k.data.folder import photo_folder
    from diffusion4k.data.sizes import check_multiple
    from diffusion4k.models.folder import resolve_autoencoder

    for pixels in size or ():
        check_multiple("--size", pixels)
    require_folder(photo_folder(folder), "photographs")
    for name in vae or ():
        resolve_autoencoder(name.partition("@")[0])

    from diffusion4k.reconstruction import report as reconstruction_report
    from diffusion4k.reconstruction.measure import Weights

    reconstruction_report.run(
        folder,
        vae or ["pocket"],
        size or [512],
        out,
        weights=Weights(inception, lpips, lpips_network, lpips_heads),  # type: ignore[arg-type]
        max_memory=max_memory,
        allow_enlarging=allow_enlarging,
        skip_bad=skip_bad,
    )
    for name in reconstruction_report.FILES:
        typer.echo(out / name)
