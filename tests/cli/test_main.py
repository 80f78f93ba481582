"""The command line as a whole."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from diffusion4k.cli.main import app, main


def test_help_texts_flow_with_the_terminal() -> None:
    for verb, end in (
        ("ablate", "it divides the runs among them."),
        ("judge", "an answer is missing."),
    ):
        wide = CliRunner().invoke(app, [verb, "--help"], env={"COLUMNS": "400", "TERM": "dumb"})
        assert wide.exit_code == 0
        [paragraph] = [line for line in wide.stdout.splitlines() if end in line]
        assert len(paragraph.strip()) > 200


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("generate x --width abc", "--width abc: allowed a whole number"),
        ("generate x --seed 1 --seed y", "--seed y: allowed a whole number"),
        ("generate x --widht 3", "No such option: --widht (Possible options: --weights, "),
        ("generate x y", "Got unexpected extra argument"),
        ("generate x --steps", "Option '--steps' requires an argument"),
        ("study links study.yaml --count 0", "--count 0: allowed a number of at least 1"),
        ("study serve study.yaml --port 99999", "--port 99999: allowed a number of at most 65535"),
        ("study lnks", "No such command 'lnks'. Did you mean 'links'?"),
        ("evaluate", "Missing argument 'folder' (see `diffusion4k evaluate --help`)"),
        ("evaluate x --scale 1", "Option '--scale' requires 2 arguments"),
    ],
)
def test_wrong_usage_is_told_in_one_line(
    arguments: str,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert leave(arguments, monkeypatch) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(f"error: {told}") and printed.err.count("\n") == 1
    assert not printed.out


def test_a_group_without_a_verb_shows_its_verbs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert leave("vae", monkeypatch) == 2
    printed = capsys.readouterr()
    assert "eval" in printed.out and not printed.err


def test_ctrl_c_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("diffusion4k.sampling.read_prompts", interrupt)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    assert leave("generate --prompts x.txt", monkeypatch) == 130
    assert capsys.readouterr().err.startswith("error: interrupted; finished work is kept")


def test_two_ctrl_c_while_libraries_are_imported_are_told_in_one_line(tmp_path: Path) -> None:
    """Libraries of C++ abort where an exception comes through them, as this one does."""
    (tmp_path / "torch.py").write_text(
        "import os, time\n"
        "print('importing', flush=True)\n"
        "try:\n    time.sleep(300)\nexcept BaseException:\n    os.abort()\n"
    )
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    code = "from diffusion4k.cli.main import main; main()"
    with subprocess.Popen(
        [sys.executable, "-c", code, "generate", "lake", "--out", str(tmp_path / "out")],
        env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout and process.stdout.readline() == "importing\n"
        process.send_signal(signal.SIGINT)
        time.sleep(1)  # Two that wait to be delivered would be one.
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=120)
    assert process.returncode == 130
    assert told.startswith("error: interrupted; ") and told.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("arguments", ["--version", "--help", "models"])
def test_a_full_device_as_output_is_told_in_one_line(arguments: str) -> None:
    with Path("/dev/full").open("w") as full:
        done = run(arguments, stdout=full)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: disk full while writing output")


def test_a_pipe_that_closes_is_no_failure() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = run("--version", stdout=writer)
    os.close(writer)
    assert done.returncode in (0, 1) and not done.stderr


def test_a_working_directory_that_is_gone_is_told_in_one_line(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    code = f"import os; os.chdir({str(gone)!r}); os.rmdir({str(gone)!r}); {RUN}"
    done = subprocess.run(
        [sys.executable, "-c", code, "models"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr == ("error: the working directory is gone: change to a folder that exists\n")


RUN = "from diffusion4k.cli.main import main; main()"


def run(arguments: str, stdout: Any) -> subprocess.CompletedProcess[str]:
    """A command as a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", RUN, *arguments.split()],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )


def leave(arguments: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """Exit code of a command."""
    monkeypatch.setattr("sys.argv", ["diffusion4k", *arguments.split()])
    with pytest.raises(SystemExit) as leaving:
        main()
    assert isinstance(leaving.value.code, int)
    return leaving.value.code
