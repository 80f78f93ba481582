"""The inspection as a command: from a folder to an address that can be opened."""

import sys
from pathlib import Path

from diffusion4k.curation.inspection.app import create_app
from diffusion4k.curation.inspection.inspection import Inspection
from diffusion4k.support.wording import counted
from diffusion4k.web.protection import is_loopback
from diffusion4k.web.serve import address, listen, serve
from diffusion4k.web.session import Session

__all__ = ["run"]


def run(folder: Path, *, host: str, port: int, everything: bool) -> None:
    """Print the page's address and serve it until Ctrl-C.

    Raises:
        Diffusion4kError: nothing to review, or decisions that cannot be written.
        UsageError: the port is taken.
    """
    with listen(host, port) as bound:
        inspection = Inspection(folder, everything=everything)
        session = Session()
        cookie = f"diffusion4k-{bound.getsockname()[1]}"
        app = create_app(inspection, session, host=host, cookie=cookie)
        progress = inspection.progress()
        decided = progress.accepted + progress.rejected
        if not is_loopback(host):
            print(
                f"warning: {host} can be reached from other machines and nothing is encrypted; a "
                "tunnel (ssh -L 8765:localhost:8765) is safer",
                file=sys.stderr,
            )
        print(f"{counted(progress.total, 'candidate')}, {decided} decided; Ctrl-C ends")
        print(address(bound, host, session.token), flush=True)
        serve(app, bound)
        progress = inspection.progress()
        print(f"{progress.accepted} accepted, {progress.rejected} rejected of {progress.total}")
