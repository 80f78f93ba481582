"""What is wrong with a photograph or a line of metadata, by name."""

import sys
from collections.abc import Iterable
from dataclasses import dataclass

from diffusion4k.support.text_files import visible

__all__ = ["Problem", "report_skipped"]


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
