"""The command as a process of its own, on a free port."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from diffusion4k.web.session import CSRF_HEADER
from tests.web.server import Process, answering, start

COMMAND = (
    "import sys, typer; from diffusion4k.cli.dataset.inspect import inspect; "
    "from diffusion4k.errors import Diffusion4kError\n"
    "app = typer.Typer(); app.command()(inspect)\n"
    "try: app()\n"
    "except Diffusion4kError as error: print(error, file=sys.stderr); sys.exit(error.exit_code)"
)


class Server(Process):
    """A running server."""

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


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[Server]:
    """The server of a folder, up and answering."""
    process = start(COMMAND, str(folder), "--port", "0", *options)
    with answering(process, "http") as lines:
        yield Server(process, lines)
