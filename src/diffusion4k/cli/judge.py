"""`diffusion4k judge`: GPT-4o, or another vision model, compares the images of models."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diffusion4k.cli.endpoint import Estimate, JudgeEndpoint, JudgeImage
from diffusion4k.cli.section_options import section_of_options, with_section_options
from diffusion4k.endpoint import defaults

if TYPE_CHECKING:
    from diffusion4k.preference.study.config import StudyConfig

__all__ = ["register"]

EXAMPLE = """Examples:

diffusion4k judge recipes/pocket-study.yaml --estimate

diffusion4k judge old=images new=images-lora --prompts prompts.txt --estimate

diffusion4k judge runs/sana runs/wlf --budget 5 --out judged

diffusion4k judge runs/sana runs/wlf --patches 4 --endpoint http://localhost:8000/v1 --model qwen-vl
"""


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("judge", epilog=EXAMPLE)(with_section_options(judge))


def judge(
    models: Annotated[
        list[str],
        typer.Argument(
            help="Two or more image folders, each FOLDER or NAME=FOLDER; or a study's YAML file, "
            "and behind it keys with other values, KEY=VALUE."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for answers, summary and the ledger of payments; by default judged, "
            "of a study in its own folder.",
            show_default=False,
        ),
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(help=".txt or .jsonl file of the prompts of images that carry none."),
    ] = None,
    patches: Annotated[
        int, typer.Option(help="Regions at native size that decide about fine details; 0: none.")
    ] = 0,
    patch_side: Annotated[
        int, typer.Option(help="Side of such a region, pixels.")
    ] = defaults.PATCH_SIDE,
    tries: Annotated[
        int, typer.Option(help="Largest number of answers to pay for when they cannot be read.")
    ] = defaults.TRIES,
    estimate: Estimate = False,
    *,
    endpoint: JudgeEndpoint,
    image: JudgeImage,
) -> None:
    """Have a judge compare models' images by the three questions of Diffusion-4K.

    Images belong together by file name or by prompt, or as in a study, whose `study report` then
    shows its judge beside people. Every pair is asked about in both orders, which shows the judge's
    position bias and removes it. The key is read from OPENAI_API_KEY in the environment. The same
    command continues after any stop and pays for no answer twice. Exits with 1 if an answer is
    missing.
    """
    from diffusion4k.preference.judge.prompt import JudgeSettings
    from diffusion4k.preference.judge.run import JudgingStopped, estimate_judging
    from diffusion4k.preference.judge.run import judge as judge_models

    settings = section_of_options(
        JudgeSettings,
        endpoint=endpoint,
        image=image,
        patches=patches,
        patch_side=patch_side,
        tries=tries,
    )
    judged = study_of(models, prompts)
    out = out or (judged.judged if judged else Path("judged"))
    if estimate:
        typer.echo(estimate_judging(judged or models, settings, out, prompts=prompts))
        return
    try:
        report = judge_models(judged or models, settings, out, prompts=prompts)
    except JudgingStopped as stopped:
        for problem in stopped.report.problems:
            typer.echo(f"bad: {problem}")
        typer.echo(stopped.report.lines()[-1])
        raise
    for line in report.lines():
        typer.echo(line)
    raise typer.Exit(0 if report.complete else 1)


def study_of(models: list[str], prompts: Path | None) -> "StudyConfig | None":
    """The study that is named in place of folders; None if folders are named.

    Raises:
        UsageError: the study's file is wrong, or --prompts is given beside it.
    """
    from diffusion4k.errors import UsageError
    from diffusion4k.preference.study.config import read_study

    if not models[0].lower().endswith((".yaml", ".yml")):
        return None
    if prompts:
        raise UsageError(
            f"--prompts {prompts}: a study has prompts of its own: write `task.prompts={prompts}` "
            "behind it"
        )
    return read_study(models[0], models[1:])
