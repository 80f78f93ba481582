"""`diffusion4k judge`: GPT-4o, or another model that sees, compares the images of models."""

from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = ["register"]

EXAMPLE = """Examples:

diffusion4k judge sana=photographs ours=images --estimate

diffusion4k judge runs/sana runs/wlf --budget 5 --out judged

diffusion4k judge runs/sana runs/wlf --patches 4 --endpoint http://localhost:8000/v1 --model qwen-vl
"""


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("judge", epilog=EXAMPLE)(judge)


def judge(
    models: Annotated[
        list[str],
        typer.Argument(help="Two or more image folders, each FOLDER or NAME=FOLDER."),
    ],
    out: Annotated[
        Path, typer.Option(help="Folder for answers, summary and the ledger of what is paid.")
    ] = Path("judged"),
    patches: Annotated[
        int, typer.Option(help="Places at native size that decide about fine details; 0: none.")
    ] = 0,
    patch_side: Annotated[int, typer.Option(help="Side of such a place, pixels.")] = 768,
    endpoint: Annotated[
        str, typer.Option(help="Address up to the version; any OpenAI-compatible server.")
    ] = "https://api.openai.com/v1",
    model: Annotated[str, typer.Option(help="The judge's name at the endpoint.")] = "gpt-4o",
    longest: Annotated[int, typer.Option(help="Longer side of what is sent, pixels.")] = 1536,
    quality: Annotated[int, typer.Option(help="JPEG quality of what is sent.")] = 95,
    detail: Annotated[str, typer.Option(help="How closely it is looked at: low, high.")] = "high",
    concurrency: Annotated[int, typer.Option(help="Requests under way at a time.")] = 8,
    requests_per_minute: Annotated[int | None, typer.Option(help="Rate limit.")] = None,
    tokens_per_minute: Annotated[int | None, typer.Option(help="Rate limit.")] = None,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for an answer.")] = 120.0,
    retries: Annotated[int, typer.Option(help="How often a failed request is sent again.")] = 6,
    max_tokens: Annotated[int, typer.Option(help="Longest answer, tokens.")] = 500,
    budget: Annotated[
        float | None, typer.Option(help="Dollars that all runs with one --out may spend.")
    ] = None,
    input_price: Annotated[
        float | None, typer.Option(help="Dollars per million tokens; known for GPT-4o.")
    ] = None,
    output_price: Annotated[
        float | None, typer.Option(help="Dollars per million tokens; known for GPT-4o.")
    ] = None,
    tries: Annotated[
        int, typer.Option(help="Answers to pay for, at most, when they cannot be read.")
    ] = 3,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Only say what it would cost; nothing is sent.")
    ] = False,
) -> None:
    """Have a judge compare models' images by the three questions of Diffusion-4K.

    Images belong together by file name or by prompt. Every pair is asked in both orders, which
    shows the judge's bias for a position and takes it out. The key is read from the environment
    variable OPENAI_API_KEY. The same command goes on after any stop; what is paid is not paid
    again. Leaves with 1 if an answer is missing.
    """
    from diffusion4k.preference.judge.run import Stopped, estimate_judging
    from diffusion4k.preference.judge.run import judge as judge_models

    settings = _settings(
        endpoint={
            "url": endpoint,
            "model": model,
            "concurrency": concurrency,
            "requests_per_minute": requests_per_minute,
            "tokens_per_minute": tokens_per_minute,
            "timeout": timeout,
            "retries": retries,
            "max_output_tokens": max_tokens,
            "budget": budget,
            "input_price": input_price,
            "output_price": output_price,
        },
        image={"longest": longest, "quality": quality, "detail": detail},
        patches=patches,
        patch_side=patch_side,
        tries=tries,
    )
    if estimate:
        typer.echo(estimate_judging(models, settings, out))
        return
    try:
        report = judge_models(models, settings, out)
    except Stopped as stopped:
        typer.echo(stopped.report.lines()[-1])
        raise
    for line in report.lines():
        typer.echo(line)
    raise typer.Exit(0 if report.complete else 1)


def _settings(**values: Any) -> Any:
    from pydantic import ValidationError

    from diffusion4k.config.problems import describe_problems
    from diffusion4k.errors import UsageError
    from diffusion4k.preference.judge.settings import JudgeSettings

    try:
        return JudgeSettings.model_validate(values)
    except ValidationError as error:
        raise UsageError(describe_problems(error, JudgeSettings)) from None
