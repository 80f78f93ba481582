"""A command that serves pages as a process of its own, on a free port."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass
class Process:
    """A running server."""

    process: subprocess.Popen[str]
    lines: list[str]
    """What it printed until it answered."""

    def stop(self, signal: int) -> tuple[int, str, str]:
        """Exit code, and what it printed afterwards."""
        self.process.send_signal(signal)
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, out, err


def start(code: str, *arguments: str, **settings: object) -> subprocess.Popen[str]:
    """Python code with these arguments, not waited for."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        **settings,  # type: ignore[call-overload]
    )


@contextmanager
def answering(process: subprocess.Popen[str], last: str) -> Iterator[list[str]]:
    """What it printed up to the line that begins with `last`, which says that it answers.

    It is killed at the end, if it still runs.
    """
    try:
        assert process.stdout
        lines: list[str] = []
        while not lines or not lines[-1].startswith(last):
            line = process.stdout.readline()
            assert line, process.communicate()[1]
            lines.append(line.strip())
        yield lines
    finally:
        process.kill()
        process.communicate()
