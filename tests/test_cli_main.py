"""The command line as a whole."""

from typer.testing import CliRunner

from diffusion4k.cli.main import app


def test_help_texts_flow_with_the_terminal() -> None:
    for verb, end in (("ablate", "it shares the runs out."), ("judge", "an answer is missing.")):
        wide = CliRunner().invoke(app, [verb, "--help"], env={"COLUMNS": "400", "TERM": "dumb"})
        assert wide.exit_code == 0
        [paragraph] = [line for line in wide.stdout.splitlines() if end in line]
        assert len(paragraph.strip()) > 200
