"""`diffusion4k ablate`: objectives side by side, under the same conditions."""

from pathlib import Path
from shutil import get_terminal_size
from textwrap import wrap
from typing import TYPE_CHECKING, Annotated

import typer

from diffusion4k.cli.arguments import key_values
from diffusion4k.cli.kinds import of_this_kind

if TYPE_CHECKING:
    from diffusion4k.ablation.results import AblationResults

__all__ = ["lines_of", "register"]

_EXAMPLES = """Examples:

diffusion4k ablate recipes/pocket-ablation-small.yaml

diffusion4k ablate recipes/pocket-ablation-small.yaml --check

diffusion4k ablate recipes/pocket-ablation-small.yaml 'seeds=[0, 1]' output=runs/two-seeds
"""


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command(epilog=_EXAMPLES)(ablate)


def ablate(
    study: Annotated[Path, typer.Argument(help="The study as a YAML file.", show_default=False)],
    overrides: Annotated[list[str] | None, key_values("study", "steps=100")] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out photographs that cannot be read.")
    ] = False,
    check: Annotated[
        bool,
        typer.Option("--check", help="Check everything, estimate the time, and stop."),
    ] = False,
) -> None:
    """Train a model with several objectives and say what differs, and what does not.

    Runs of one seed see the same pictures, crops, noise and start. The same command continues a
    study that was stopped or killed. Started several times at once, on one machine or several that
    share the output folder, it divides the runs among them.
    """
    from diffusion4k.ablation.recipe import load_study

    with of_this_kind(study, "ablate"):
        study_recipe = load_study(study, overrides)

    from diffusion4k.ablation.arms import base_recipe
    from diffusion4k.planning.first_look import first_look, refuse_problems

    refuse_problems("recipe", first_look(base_recipe(study_recipe)))

    from diffusion4k.ablation.report import FILES
    from diffusion4k.ablation.run import check_time, run_study

    if check:
        typer.echo(check_time(study_recipe, skip_bad=skip_bad))
        return
    results = run_study(study_recipe, skip_bad=skip_bad)
    if results is None:
        typer.echo(
            "other processes have the last runs and will report; if they stopped, run this command "
            "again",
            err=True,
        )
        return
    for line in lines_of(results, min(get_terminal_size().columns, 100)):
        typer.echo(line)
    for name in FILES:
        typer.echo(study_recipe.output / name)


def lines_of(results: "AblationResults", width: int) -> list[str]:
    """What differs from the baseline, arm by arm, in lines of at most `width` letters."""
    from diffusion4k.ablation.report import sentences

    lines = []
    for arm, parts in sentences(results):
        lines.append(f"{arm} beside {results.baseline}:")
        for part in parts or ["nothing measured"]:
            lines += wrap(part, width, initial_indent="  ", subsequent_indent="    ")
    for each in results.identities:
        verdict = "equal" if each.holds else "NOT EQUAL"
        largest = max(each.loss, each.velocity_error)
        lines.append(f"{each.first} = {each.second}: {verdict} (largest difference {largest:.1e})")
    return lines
