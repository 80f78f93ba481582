"""The pages of the manual and their blocks of code."""

import re
import shlex
import sys
from pathlib import Path

import pytest

from diffusion4k.cli.main import main

__all__ = ["DOCS", "ROOT", "blocks", "modules", "run_command", "write_modules"]

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page: str, *languages: str) -> list[str]:
    """The bodies of a page's fenced blocks in these languages."""
    text = (DOCS / page).read_text()
    return [body for language, body in _FENCE.findall(text) if language in languages]


def modules(page: str) -> dict[str, str]:
    """Python that a page wants in a file, by the name in its first line: `# name.py`."""
    found = {}
    for body in blocks(page, "python"):
        if named := re.match(r"# (\w+)\.py\n", body):
            found[named[1]] = body
    return found


def write_modules(page: str, folder: Path) -> None:
    """Put the page's files into a folder, as a reader would."""
    for name, body in modules(page).items():
        (folder / f"{name}.py").write_text(body)


def run_command(page: str, *more: str) -> None:
    """The page's only command as it stands, with further words.

    Raises:
        AssertionError: it does not exit with 0.
    """
    (line,) = "".join(blocks(page, "bash")).splitlines()
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as leaving:
        patch.setattr(sys, "argv", [*shlex.split(line), *more])
        main()
    assert leaving.value.code in (0, None)
