"""Where commands of the contract run, and for how long at most."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from diffusion4k.cli.main import main
from tests.contract.world import HUNG, Run, make_world


@pytest.fixture
def world(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with all that is good; commands run in it."""
    folder = tmp_path / "world"
    make_world(folder, tiny_model)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    return folder


@pytest.fixture
def limited() -> Iterator[None]:
    """Whatever hangs is ended, and is a failure."""

    def end(*_: object) -> None:
        raise AssertionError(f"no answer after {HUNG} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(HUNG)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], limited: None) -> Run:
    """Runs a command in this process: its exit code, standard output and errors."""

    def run(typed: list[str]) -> tuple[object, str, str]:
        monkeypatch.setattr("sys.argv", ["diffusion4k", *typed])
        with pytest.raises(SystemExit) as left:
            main()
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return left.value.code or 0, out, err  # None: as sys.exit has it

    return run
