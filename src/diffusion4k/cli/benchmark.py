"""`diffusion4k benchmark`: models and folders of images, measured side by side."""

from pathlib import Path
from typing import Annotated

import typer

from diffusion4k.cli.arguments import key_values
from diffusion4k.cli.kinds import of_this_kind
from diffusion4k.support.wording import counted

__all__ = ["register"]

_EXAMPLES = """Examples:

diffusion4k benchmark recipes/pocket-benchmark.yaml

diffusion4k benchmark recipes/pocket-benchmark.yaml limit=2 output=runs/small

diffusion4k benchmark --model pocket --images images --prompts pocket
"""


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command(epilog=_EXAMPLES)(benchmark)


def benchmark(
    recipe: Annotated[
        Path | None, typer.Argument(help="The benchmark as a YAML file.", show_default=False)
    ] = None,
    overrides: Annotated[list[str] | None, key_values("recipe", "limit=10")] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(help="Without a recipe: pocket, a folder, or a hub id; several times."),
    ] = None,
    images: Annotated[
        list[Path] | None,
        typer.Option(help="Without a recipe: a folder of images made elsewhere; several times."),
    ] = None,
    prompts: Annotated[
        str | None,
        typer.Option(
            help="supplement (the paper's captions), .txt, .jsonl, a folder with metadata.jsonl, "
            "or pocket (bundled)."
        ),
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(
            help="Photographs for the distances, pocket the bundled ones; else those of --prompts."
        ),
    ] = None,
    width: Annotated[int | None, typer.Option(help="Pixels; by default each model's own.")] = None,
    height: Annotated[int | None, typer.Option(help="Pixels; by default each model's own.")] = None,
    steps: Annotated[int | None, typer.Option(help="By default each model's own.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of images and results; runs/benchmark by default.")
    ] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out broken images and exit with 0.")
    ] = False,
) -> None:
    """Make images of the same prompts with several models and measure them side by side.

    Writes tables with 95% intervals beside published figures, as JSON, CSV and LaTeX, and a report.
    Existing images are kept: a run that was stopped continues. `accelerate launch` distributes
    the images over several processes or machines.
    """
    from diffusion4k.benchmark.recipe import checked_recipe, load_benchmark_recipe
    from diffusion4k.errors import Diffusion4kError, UsageError

    options = {
        "prompts": prompts,
        "reference": reference,
        "width": width,
        "height": height,
        "steps": steps,
        "output": out,
    }
    given: dict[str, object] = {key: value for key, value in options.items() if value is not None}
    if recipe is None:
        if not model and not images:
            raise UsageError("give a recipe, or at least one --model or --images")
        checked = checked_recipe(given | {"models": _entries(model or [], images or [])})
    elif model or images or given:
        raise UsageError(f"{recipe}: with a recipe, give other values as KEY=VALUE")
    else:
        with of_this_kind(recipe, "benchmark"):
            checked = load_benchmark_recipe(recipe, overrides)

    from diffusion4k.benchmark.entries import check_entries, images_folder
    from diffusion4k.cli.early import check_image

    for entry in checked.models:
        if entry.model is not None:
            check_image(entry.model, checked.sampling(entry), entry.factor)
    check_entries(checked)

    from diffusion4k.benchmark.run import FILES, run_benchmark
    from diffusion4k.benchmark.tables import show

    results = run_benchmark(checked, skip_bad=skip_bad)
    if results is None:
        return
    show(results)
    for name in FILES:
        typer.echo(checked.output / name)
    if results.bad:
        folders = {entry.name: images_folder(checked, entry) for entry in checked.models}
        bad = [
            f"{Path(folders.get(row, checked.reference or row), file)}: {why}"
            for row, found in results.bad.items()
            for file, why in found.items()
        ]
        problem = f"{counted(len(bad), 'image')} could not be measured: " + "; ".join(bad[:5])
        problem += "; ..." if len(bad) > 5 else ""
        if not skip_bad:
            raise Diffusion4kError(f"{problem}; replace them, or pass --skip-bad")
        typer.echo(f"skipped {problem}", err=True)


def _entries(models: list[str], folders: list[Path]) -> list[dict[str, str | Path]]:
    """Rows named as the models and folders are, numbered where two would have one name."""
    rows: list[tuple[str, str, str | Path]] = [(_short(model), "model", model) for model in models]
    rows += [(_short(str(folder.absolute())), "images", folder) for folder in folders]
    entries: list[dict[str, str | Path]] = []
    names: list[str] = []
    for short, key, source in rows:
        name, number = short, 2
        while name.casefold() in names:
            name, number = f"{short} {number}", number + 1
        names.append(name.casefold())
        entries.append({"name": name, key: source})
    return entries


def _short(name: str) -> str:
    return name.replace("\\", "/").rstrip("/").split("/")[-1].lstrip(".") or "model"
