"""The command as a process of its own, on a free port."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

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
        # By whatever name it is known; on a busy machine this takes a while.
        httpx.get(f"http://127.0.0.1:{port_of(process.pid)}/", trust_env=False, timeout=120)
        yield Server(process, lines)


def command(verb: str, study: Path, *options: str) -> subprocess.Popen[str]:
    """`diffusion4k study VERB STUDY ...`, not waited for."""
    return start(COMMAND, "study", verb, str(study), *options)


def port_of(process: int) -> int:
    """The port on which a process listens (Linux)."""
    inodes = set()
    for handle in Path(f"/proc/{process}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed since
            target = str(handle.readlink())
            inodes.add(target.removeprefix("socket:[").removesuffix("]"))
    for line in Path(f"/proc/{process}/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        if words[3] == "0A" and words[9] in inodes:
            return int(words[1].partition(":")[2], 16)
    raise AssertionError("listens on no port")
