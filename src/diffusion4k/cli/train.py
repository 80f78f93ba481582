"""`diffusion4k train`: from a recipe to a fine-tuned model."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from diffusion4k.training.recipe.recipe import Recipe

from diffusion4k.cli.arguments import key_values
from diffusion4k.cli.kinds import refuse_other_kinds

__all__ = ["register"]

_EXAMPLES = """Examples:

diffusion4k train recipes/pocket-wlf.yaml

diffusion4k train recipes/pocket-wlf.yaml --check

diffusion4k train recipes/pocket-wlf.yaml steps=20 'objective={name: flow-matching}'
"""


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command(epilog=_EXAMPLES)(train)


def train(
    recipe: Annotated[Path, typer.Argument(help="The run as a YAML file.", show_default=False)],
    overrides: Annotated[
        list[str] | None, key_values("recipe", "optimizer.learning_rate=1e-5")
    ] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out photographs that cannot be read.")
    ] = False,
    changed_inputs: Annotated[
        bool,
        typer.Option(
            "--changed-inputs",
            help="Continue with other photographs, captions or base weights than before.",
        ),
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Check everything that could be wrong, and stop.")
    ] = False,
) -> None:
    """Fine-tune a model's transformer, by a recipe.

    The same command resumes from the newest checkpoint of a run that was stopped or killed. The
    result, OUTPUT/model, is a folder that `generate --model` and plain diffusers load;
    OUTPUT/report.html shows the outcome.
    """
    from diffusion4k.config.read import read_partly
    from diffusion4k.errors import UsageError
    from diffusion4k.planning.first_look import INSTEAD, first_look, refuse_problems
    from diffusion4k.support.processes import is_main
    from diffusion4k.training.recipe.recipe import Recipe

    checked, problems, unknown = read_partly(recipe, overrides, Recipe, instead=INSTEAD)
    if problems:
        refuse_other_kinds(recipe, "train")
    if checked is None:
        raise UsageError(f"{recipe}: {'; '.join(problems)}")
    if not check:
        # What shows at once is refused at once: all that is wrong takes seconds of imports.
        first = first_look(checked, unknown)
        first.problems[:0] = problems
        refuse_problems(str(recipe), first)

    from diffusion4k.planning.preflight import look_over, summary
    from diffusion4k.planning.warning import training_warning

    warning = training_warning(checked) if is_main() and not unknown else None
    # What surely fits need not be planned.
    findings = look_over(
        checked,
        unknown=unknown,
        planned=check or bool(warning),
        skip_bad=skip_bad,
        changed_inputs=changed_inputs,
    )
    findings.problems[:0] = problems
    refuse_problems(str(recipe), findings)
    if warning:
        typer.echo(warning, err=True)
    if check:
        typer.echo(summary(findings))
        return

    from diffusion4k.training.loop import train
    from diffusion4k.training.watch.run_report import write_run_report

    result = train(checked, skip_bad=skip_bad, changed_inputs=changed_inputs)
    if is_main():
        typer.echo(result)
        typer.echo(_what_next(checked, result, write_run_report(checked, result)), err=True)


def _what_next(recipe: "Recipe", result: Path, page: Path | None) -> str:
    """What came of the run, and the commands that show it."""
    from diffusion4k.training.watch.run_report import next_commands, validation_losses

    lines = [f"the run on one page: {page}"] if page else []
    losses = [loss for _, loss in validation_losses(recipe)]
    if len(losses) > 1:
        lines.append(f"validation loss {losses[0]:.4f} before, {losses[-1]:.4f} after")
    lines += [f"{what}: {command}" for what, command in next_commands(recipe, result)]
    return "\n".join(lines)
