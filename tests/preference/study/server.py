"""The command as a process of its own, on a free port."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.web.server import Process, answering, start

COMMAND = "from diffusion4k.cli.main import main; main()"


class Server(Process):
    """A running server."""

    @property
    def dashboard(self) -> str:
        """Address of the dashboard, with the token."""
        return self.lines[-1].removeprefix("dashboard: ")

    @property
    def address(self) -> str:
        """Of the participants' page."""
        return self.dashboard.partition("dashboard#")[0]


@contextmanager
def serving(study: Path, *options: str, port: int = 0) -> Iterator[Server]:
    """The server of a study, up and answering."""
    process = command("serve", study, "--port", str(port), *options)
    with answering(process, "dashboard: ") as lines:
        yield Server(process, lines)


def command(verb: str, study: Path, *options: str) -> subprocess.Popen[str]:
    """`diffusion4k study VERB STUDY ...`, not waited for."""
    return start(COMMAND, "study", verb, str(study), *options)
