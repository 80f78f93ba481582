"""`diffusion4k evaluate`: measure a folder of images."""

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diffusion4k.support.wording import counted

if TYPE_CHECKING:
    from diffusion4k.benchmark.ratings import Ratings
    from diffusion4k.metrics.measure import Measure
    from diffusion4k.metrics.networks import Networks
    from diffusion4k.metrics.settings import MeasureSettings

__all__ = ["register"]

EPILOG = """Examples:

  diffusion4k evaluate images --out results.json

  diffusion4k evaluate images --reference photographs --cache .measured

  diffusion4k evaluate images --reference pocket --all --out results.json

  diffusion4k evaluate patches --against ratings.csv --out results.json

  diffusion4k evaluate images --metric my_metrics:sharpness
"""


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(epilog=EPILOG)(evaluate)


def evaluate(
    folder: Annotated[Path, typer.Argument(help="Folder of images to measure.")],
    reference: Annotated[
        Path | None,
        typer.Option(help="Folder of photographs for the distances; pocket: the bundled ones."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Results file (JSON).")] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out broken images and exit with 0.")
    ] = False,
    reencode: Annotated[
        bool,
        typer.Option("--reencode", help="Measure every image's size as a new JPEG of quality 95."),
    ] = False,
    patch_size: Annotated[
        int, typer.Option(help="Side of the patches of FD-EffNet-patch, in pixels.")
    ] = 224,
    patches_per_image: Annotated[
        int, typer.Option(help="Largest number of patches per image.")
    ] = 64,
    grid_period: Annotated[
        int,
        typer.Option(
            help="Period of the token-grid ratio: pixels a side of a token, or of a window."
        ),
    ] = 32,
    cache: Annotated[
        Path | None, typer.Option(help="Folder that keeps measurements, to continue or to reuse.")
    ] = None,
    all_: Annotated[
        bool,
        typer.Option(
            "--all",
            help="All metrics of the benchmark: GLCM properties, wavelet bands, spectrum, detail "
            "distance, token-grid ratio, and those of --networks.",
        ),
    ] = False,
    networks: Annotated[
        Path | None,
        typer.Option(
            help="YAML that names weights of further metrics, of all (--all) or of --against."
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            help="Where networks of --networks compute: cpu, cuda, ...; by default the GPU if "
            "there is one.",
            show_default=False,
        ),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            help="A metric of your own, module:function; several times. Its module runs.",
            show_default=False,
        ),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(help="Ratings by people: CSV of image,rater,rating; do metrics agree?"),
    ] = None,
    scale: Annotated[
        tuple[float, float], typer.Option(help="Lowest and highest rating of --against.")
    ] = (1, 10),
    figure: Annotated[
        Path | None,
        typer.Option(help="Scatter plots (.png, .svg, .pdf); by default beside --out."),
    ] = None,
) -> None:
    """Measure images: GLCM Score and entropy, Compression Ratio, Fréchet distance.

    With --all, every metric of the benchmark is measured. With --against, every metric of single
    images is correlated with people's ratings.
    """
    from diffusion4k.benchmark.ratings import read_ratings
    from diffusion4k.config.read import read_config
    from diffusion4k.data.folder import photo_folder
    from diffusion4k.data.picture_files import list_images
    from diffusion4k.errors import Diffusion4kError, UsageError
    from diffusion4k.metrics.networks import Networks
    from diffusion4k.metrics.settings import MeasureSettings
    from diffusion4k.support.files import write_text
    from diffusion4k.support.progress import Counter
    from diffusion4k.support.text_files import visible

    if out is not None and out.is_dir():
        raise UsageError(f"--out {out}: is a folder; name a file such as {out / 'results.json'}")
    if out is not None and out.parent.exists() and not out.parent.is_dir():
        raise UsageError(f"--out {out}: {out.parent} is a file, not a folder: name another")
    if against is None and figure:
        raise UsageError("--figure: goes with --against")
    settings = MeasureSettings(reencode, patch_size, patches_per_image, grid_period)
    folder = photo_folder(folder)
    reference = None if reference is None else photo_folder(reference)
    folders = [path for path in (folder, reference) if path is not None]
    paths = [path for each in folders for path in list_images(each, quiet=True)]
    weights = read_config(networks, [], Networks) if networks else Networks()
    ratings = read_ratings(against, scale) if against else None

    from diffusion4k.imagesets.provenance import prompts_of
    from diffusion4k.metrics import report
    from diffusion4k.metrics.evaluate import evaluate as run
    from diffusion4k.metrics.own import own_measures
    from diffusion4k.metrics.selection import lacking_prompts, measures_for
    from diffusion4k.support.devices import usable_device

    chosen_device = str(usable_device(device))
    own = own_measures(metric or [], "--metric")
    people = (
        _People(ratings, figure, settings, weights, chosen_device, out, own) if ratings else None
    )
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)  # Fails now rather than after the work.
    further: list[Measure] = [*own]
    prompts: dict[Path, str | None] = {}
    if all_ or (networks and not against):
        further, missing = measures_for(
            settings, weights, chosen_device, has_reference=reference is not None, own=own
        )
        prompts = prompts_of(paths)
        images = list_images(folder, quiet=True)
        missing += lacking_prompts(further, [prompts[path] for path in images])
        for lack in missing:
            typer.echo(f"not measured: {', '.join(lack.columns)}: {lack.reason}")
    with tempfile.TemporaryDirectory(prefix="diffusion4k-measured-") as temporary:
        kept = cache or Path(temporary)
        with Counter("measuring", len(paths), unit="images") as counter:
            result = run(
                folder,
                reference,
                settings=settings,
                cache=kept,
                on_image=counter.advance,
                further=further,
                prompts=prompts,
            )
        report.show(result)
        facts = result.to_json()
        if people:
            facts["against"] = people.compare(list_images(folder, quiet=True), kept)
    if out is not None:
        write_text(out, json.dumps(facts, indent=1, allow_nan=False) + "\n")
        typer.echo(f"results: {out}")
    if result.bad:
        count = f"{len(result.bad)} of {counted(len(paths), 'image')} could not be measured: "
        named = "; ".join(result.bad[:5]) + ("; ..." if len(result.bad) > 5 else "")
        if not skip_bad:
            raise Diffusion4kError(f"{count}{named}; replace them, or pass --skip-bad")
        typer.echo(visible(f"skipped {count}{named}"), err=True)


class _People:
    """The part of --against."""

    def __init__(
        self,
        ratings: "Ratings",
        figure: Path | None,
        settings: "MeasureSettings",
        networks: "Networks",
        device: str,
        out: Path | None,
        own: "list[Measure]",
    ) -> None:
        from diffusion4k.benchmark.ratings_agreement import figure_paths, measures_of_one_image
        from diffusion4k.benchmark.scatter import FIGURE_SUFFIXES

        self._figures = figure_paths(figure, out, FIGURE_SUFFIXES)
        self._ratings = ratings
        self._measures, self._missing = measures_of_one_image(settings, networks, device, own)

    def compare(self, images: list[Path], kept: Path) -> dict[str, object]:
        """Print, draw, and return the content of the results file."""
        from diffusion4k.benchmark.ratings_agreement import compare_with_ratings
        from diffusion4k.benchmark.scatter import draw_scatter, show_agreement
        from diffusion4k.metrics.store import MeasureStore

        agreement, useless = compare_with_ratings(
            images, self._ratings, self._measures, MeasureStore(kept)
        )
        show_agreement(agreement)
        for each in [*self._missing, *useless]:
            typer.echo(f"not measured: {each}")
        for path in self._figures:
            draw_scatter(agreement, path)
            typer.echo(f"scatter plots: {path}")
        return agreement.to_json()
