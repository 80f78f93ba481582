"""`diffusion4k models`: families, their known checkpoints, and what is on this machine."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["register"]

_EXAMPLES = """Examples:

diffusion4k models

diffusion4k models runs --json
"""


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command(epilog=_EXAMPLES)(models)


def models(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(help="Further folders in which to look for models.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List what `--model` accepts.

    First every family with the checkpoints it is known to accept, their
    sampling defaults, licences and what is special, then the models on this machine: the
    bundled one, those in the hub's cache and those in the given folders.
    """
    from diffusion4k.cli.early import require_folder

    for folder in folders or ():
        require_folder(folder, "models")

    from diffusion4k.families.catalogue import known_models, local_models

    known, local = known_models(), local_models(folders or [])
    if as_json:
        import json
        from dataclasses import asdict

        content = {
            "known": [asdict(model) for model in known],
            "local": [asdict(model) for model in local],
        }
        typer.echo(json.dumps(content, indent=2, default=str))
        return
    installed = {model.name for model in local if model.family}
    family = None
    for each in known:
        if each.family != family:
            family = each.family
            factors = " or ".join(f"F={factor}" for factor in each.factors)
            typer.echo(f"{each.family}: {each.pipeline_class}, {factors}")
        what = each.defaults
        notes = ["gated"] if each.gated else []
        notes += [each.note] if each.note else []
        notes += [f"not as its makers show it: {each.needs}"] if each.needs else []
        notes += ["on this machine"] if each.hub_id in installed else []
        typer.echo(
            f"  {each.hub_id}: {what.steps} steps, guidance {what.guidance:g}, "
            f"{what.width}x{what.height}; {'; '.join([each.licence, *notes])}"
        )
    typer.echo("On this machine:")
    for found in local:
        typer.echo(f"  {found.name}: {found.family or f'cannot be used: {found.problem}'}")
