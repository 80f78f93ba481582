"""What is wrong with a photograph or a line of metadata, by name."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from diffusion4k.errors import Diffusion4kError
from diffusion4k.support.text_files import visible

__all__ = ["Problem", "report_skipped", "writing"]


@dataclass(frozen=True)
class Problem:
    """One thing that keeps a photograph out: where it is, and why with what to do."""

    where: str
    """The path of the photograph, or `.../metadata.jsonl:LINE`."""
    reason: str
    kind: str = "broken"
    """A word by which problems are counted (`curation.verify.kinds` lists them)."""

    def __str__(self) -> str:
        return visible(f"{self.where}: {self.reason}")


def report_skipped(problems: Iterable[Problem]) -> None:
    """Say on standard error what is left out, one line each."""
    for problem in problems:
        print(f"skipped: {problem}", file=sys.stderr, flush=True)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the disk refuses while `path` is written into one line that names it."""
    try:
        yield
    except OSError as error:
        raise Diffusion4kError(
            f"{path}: cannot be written ({error.strerror}): make room or choose another cache "
            "folder; finished work is kept, the same command continues"
        ) from error
