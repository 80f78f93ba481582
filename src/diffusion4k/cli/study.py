"""`diffusion4k study`: ask people which images are better."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from diffusion4k.cli.arguments import key_values

if TYPE_CHECKING:
    from diffusion4k.preference.study.config import StudyConfig

__all__ = ["register"]

_CHECK = """Example:

diffusion4k study check recipes/pocket-study.yaml
"""

_LINKS = """Examples:

diffusion4k study links recipes/pocket-study.yaml --count 10 --out links.csv

diffusion4k study links recipes/pocket-study.yaml --revoke p-0003
"""

_SERVE = """Example:

diffusion4k study serve recipes/pocket-study.yaml
"""

_EXPORT = """Example:

diffusion4k study export recipes/pocket-study.yaml answers.csv
"""

_BACKUP = """Example:

diffusion4k study backup recipes/pocket-study.yaml backup.sqlite
"""

_REPORT = """Examples:

diffusion4k study report recipes/pocket-study.yaml --out report

diffusion4k study report answers.csv --tolerate 2 --out report

diffusion4k study report answers.csv judged/answers.jsonl --ours wlf --out report
"""

Study: TypeAlias = Annotated[Path, typer.Argument(help="The study's YAML file.")]
Overrides: TypeAlias = Annotated[list[str] | None, key_values("study", "views=5")]


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    group = typer.Typer(
        no_args_is_help=True, help="Ask people which images are better, and keep their answers."
    )
    group.command(epilog=_CHECK)(check)
    group.command(epilog=_LINKS)(links)
    group.command(epilog=_SERVE)(serve)
    group.command(epilog=_EXPORT)(export)
    group.command(epilog=_BACKUP)(backup)
    group.command(epilog=_REPORT)(report)
    app.add_typer(group, name="study")


def check(study: Study, overrides: Overrides = None) -> None:
    """Check a study's folders and say what it shows, or what is wrong with it."""
    config = _read(study, overrides)

    from diffusion4k.preference.study.run import describe

    for line in describe(config):
        typer.echo(line)


def links(
    study: Study,
    overrides: Overrides = None,
    count: Annotated[int, typer.Option(min=1, max=10_000, help="How many participants.")] = 10,
    out: Annotated[Path, typer.Option(help="A new CSV file for the links.")] = Path("links.csv"),
    address: Annotated[
        str | None,
        typer.Option(
            help="How participants reach the study, for example http://192.168.1.20:8765; by "
            "default its key `address`, or only this machine."
        ),
    ] = None,
    revoke: Annotated[
        list[str] | None,
        typer.Option(help="A participant, as p-0003, whose link is to be revoked."),
    ] = None,
) -> None:
    """Make personal links, or revoke them with --revoke, also while the study runs.

    Only their hashes are kept: the file is the only copy.
    """
    config = _read(study, overrides, address)

    from diffusion4k.preference.study.run import make_links, revoke_links
    from diffusion4k.support.wording import counted

    if revoke:
        revoke_links(config, revoke)
        typer.echo(
            f"revoked: {', '.join(revoke)}; what they have answered is kept, but left out of the "
            "report"
        )
        return
    origin = config.address or "http://127.0.0.1:8765"
    notes = make_links(config, count, out, origin)
    typer.echo(
        f"{counted(count, 'link')} to {origin} in {out}: send each to one person, keep the file to "
        "yourself"
    )
    for note in notes:
        typer.echo(note, err=True)


def serve(
    study: Study,
    overrides: Overrides = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the pages; 0: any that is free.")
    ] = 8765,
    host: Annotated[
        str, typer.Option(help="Address to listen on; any but the default is open to others.")
    ] = "127.0.0.1",
    address: Annotated[
        str | None,
        typer.Option(
            help="How participants reach it, for example https://study.example.org; by default the "
            "study's key `address`."
        ),
    ] = None,
    proxy: Annotated[
        list[str] | None,
        typer.Option(help="Address of a proxy whose X-Forwarded headers are believed."),
    ] = None,
) -> None:
    """Serve a study until Ctrl-C; prints the address of its dashboard.

    Every answer is on the disk before the page continues. What was shown and
    asked cannot be changed once the study has begun.
    """
    config = _read(study, overrides, address)

    from diffusion4k.preference.study.run import run

    run(config, host=host, port=port, proxies=proxy or ())


def export(
    study: Study,
    out: Annotated[Path, typer.Argument(help="A .csv, .jsonl or .parquet file.")],
    overrides: Overrides = None,
) -> None:
    """Write the valid answers to a file, also while the study runs."""
    config = _read(study, overrides)

    from diffusion4k.preference.study.run import take_out

    count = take_out(config, out)
    typer.echo(f"{count} answers in {out}")


def backup(
    study: Study,
    out: Annotated[Path, typer.Argument(help="A new SQLite file.")],
    overrides: Overrides = None,
) -> None:
    """Copy the study's database while it runs, and check the copy."""
    config = _read(study, overrides)

    from diffusion4k.preference.study.backup import back_up

    counts, digest = back_up(config, out)
    found = ", ".join(f"{count} {table}" for table, count in counts.items())
    typer.echo(f"{out}: sound; rows: {found}; SHA-256 {digest}")


def report(
    answers: Annotated[
        list[Path],
        typer.Argument(
            help="Studies (.yaml: what people and its judge answered), exports of studies, and "
            "answers of judges (.csv, .jsonl, .parquet)."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the report.")] = Path("report"),
    ours: Annotated[
        str | None, typer.Option(help="The model listed first; by default the best.")
    ] = None,
    tolerate: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Attention checks that a participant may fail; by default the study's, or 1.",
        ),
    ] = None,
    keep_flagged: Annotated[
        bool,
        typer.Option("--keep-flagged", help="Leave out nobody, not even flagged participants."),
    ] = False,
) -> None:
    """Report win rates with intervals, rankings and agreement: a page, LaTeX, JSON and a figure.

    Participants who failed several attention checks, or are otherwise flagged on the dashboard, are
    left out and named; the report is written whoever is left.
    """
    from diffusion4k.preference.analysis.page import headlines, warning_of
    from diffusion4k.preference.analysis.run import report as write_report

    results = write_report(answers, out, ours=ours, keep_flagged=keep_flagged, tolerated=tolerate)
    for line in headlines(results):
        typer.echo(line)
    if warning := warning_of(results):
        typer.echo(f"warning: {warning}", err=True)
    typer.echo(f"report: {out / 'report.html'}")


def _read(study: Path, overrides: list[str] | None, address: str | None = None) -> "StudyConfig":
    """The study, with the address of `--address`, which overrides its own.

    Raises:
        UsageError: the study's file is wrong, or `address` is not the address of a site.
    """
    from diffusion4k.web.extra import require_web

    require_web()

    from diffusion4k.errors import UsageError
    from diffusion4k.preference.study.config import origin_of, read_study

    config = read_study(study, overrides)
    if address is None:
        return config
    try:
        return config.model_copy(update={"address": origin_of(address)})
    except ValueError as error:
        raise UsageError(f"--address: {error}") from None
