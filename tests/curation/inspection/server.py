"""The command as a process of its own, on a free port."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from diffusion4k.web.session import CSRF_HEADER

COMMAND = (
    "import sys, typer; from diffusion4k.cli.dataset.inspect import inspect; "
    "from diffusion4k.errors import Diffusion4kError\n"
    "app = typer.Typer(); app.command()(inspect)\n"
    "try: app()\n"
    "except Diffusion4kError as error: print(error, file=sys.stderr); sys.exit(error.exit_code)"
)


@dataclass
class Server:
    """A running server."""

    process: subprocess.Popen[str]
    lines: list[str]
    """What it printed."""

    @property
    def address(self) -> str:
        return self.lines[-1]

    def client(self) -> httpx.Client:
        """A browser that has opened the printed address."""
        client = httpx.Client(base_url=self.address.partition("?")[0], trust_env=False, timeout=30)
        client.get(self.address)
        token = re.search(r'name="csrf-token" content="(\w+)"', client.get("/").text)
        assert token
        client.headers[CSRF_HEADER] = token[1]
        return client

    def stop(self, signal: int) -> tuple[int, str, str]:
        """Exit code, and what it printed afterwards."""
        self.process.send_signal(signal)
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, out, err


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[Server]:
    """The server of a folder, up and answering."""
    process = start(folder, "--port", "0", *options)
    try:
        assert process.stdout
        lines = []
        while not lines or not lines[-1].startswith("http"):
            line = process.stdout.readline()
            assert line, process.communicate()[1]
            lines.append(line.strip())
        yield Server(process, lines)
    finally:
        process.kill()
        process.communicate()


def start(folder: Path, *options: str, **settings: object) -> subprocess.Popen[str]:
    """The command, not waited for."""
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(folder), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        **settings,  # type: ignore[call-overload]
    )
