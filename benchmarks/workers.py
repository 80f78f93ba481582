"""Processes that stay and time what they are asked to, one after the other, for fair comparisons.

A worker is a Python script of its own: it reads a line, does what the line asks for, and answers
with a line. Libraries are imported and models loaded before the first line is read.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

__all__ = ["Worker", "serve"]


class Worker:
    """`python ARGUMENTS...` with further variables in its environment, on some cores alone."""

    def __init__(
        self,
        arguments: Sequence[str | Path],
        environment: dict[str, str],
        cores: set[int] | None = None,
    ) -> None:
        self._process = subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            env=os.environ | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        if cores:
            os.sched_setaffinity(self._process.pid, cores)

    def ask(self, line: str) -> None:
        """Begin what the line asks for."""
        assert self._process.stdin
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def answer(self) -> str:
        """Wait for its end.

        Raises:
            RuntimeError: the process failed; its standard error has been shown.
        """
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"exit code {self._process.wait()} of a worker")
        return line.strip()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error:
            self._process.kill()
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


def serve(work: Callable[[str], object]) -> None:
    """In the worker: say that it is ready, then answer each line with what `work` makes of it."""
    answers = sys.stdout
    sys.stdout = sys.stderr  # what libraries print is no answer
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        print(work(line.rstrip("\n")), file=answers, flush=True)
