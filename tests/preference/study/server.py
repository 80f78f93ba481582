"""The command as a process of its own, on a free port."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

COMMAND = "from diffusion4k.cli.main import main; main()"


@dataclass
class Server:
    """A running server."""

    process: subprocess.Popen[str]
    lines: list[str]
    """What it printed."""

    @property
    def dashboard(self) -> str:
        """Address of the dashboard, with the token."""
        return self.lines[-1].removeprefix("dashboard: ")

    @property
    def address(self) -> str:
        """Of the participants' page."""
        return self.dashboard.partition("dashboard#")[0]

    def stop(self, signal: int) -> tuple[int, str, str]:
        """Exit code, and what it printed afterwards."""
        self.process.send_signal(signal)
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, out, err


@contextmanager
def serving(study: Path, *options: str, port: int = 0) -> Iterator[Server]:
    """The server of a study, up and answering."""
    process = command("serve", study, "--port", str(port), *options)
    try:
        assert process.stdout
        lines: list[str] = []
        while not lines or not lines[-1].startswith("dashboard: "):
            line = process.stdout.readline()
            assert line, process.communicate()[1]
            lines.append(line.strip())
        yield Server(process, lines)
    finally:
        process.kill()
        process.communicate()


def command(verb: str, study: Path, *options: str) -> subprocess.Popen[str]:
    """`diffusion4k study VERB STUDY ...`, not waited for."""
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, "study", verb, str(study), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
