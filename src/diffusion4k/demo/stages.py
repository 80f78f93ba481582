"""Stages of the demo: which of how many is running, and what each has cost so far."""

import json
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from diffusion4k.support.files import write_text

__all__ = ["Stages"]


class Stages:
    """Announces stages and adds up their times over all runs in a folder.

    A stage that Ctrl-C or an error ends counts; one that the system kills does not.

    Args:
        path: JSON file that keeps the sums between runs.
        total: number of stages of a run.
    """

    def __init__(self, path: Path, total: int) -> None:
        self._path, self._total, self._number = path, total, 0
        self._start = time.monotonic()
        kept = _read(path)
        self.runs: int = kept.get("runs", 0) + 1
        self.seconds: dict[str, float] = kept.get("seconds", {})
        self._peak: float = kept.get("peak_memory_gib", 0.0)
        self.console = Console(stderr=True)

    @property
    def peak_gib(self) -> float:
        """Peak resident memory of the process, the largest over all runs."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return max(self._peak, peak * (1 if sys.platform == "darwin" else 1024) / 2**30)

    @contextmanager
    def stage(self, name: str, title: str) -> Iterator[None]:
        """Run the block as the next stage."""
        self._number += 1
        self.console.print(
            f"[bold]{self._number}/{self._total}[/bold] {title}", highlight=False, soft_wrap=True
        )
        start = time.monotonic()
        try:
            yield
        finally:
            now = time.monotonic()
            self.seconds[name] = self.seconds.get(name, 0.0) + now - start
            self._write()
        self.say(f"{_clock(now - start)}, {_clock(now - self._start)} in total")

    def say(self, text: str) -> None:
        """A line about the running stage."""
        self.console.print(f"    {text}", markup=False, highlight=False, soft_wrap=True)

    def _write(self) -> None:
        sums = {"runs": self.runs, "seconds": self.seconds, "peak_memory_gib": self.peak_gib}
        write_text(self._path, json.dumps(sums, indent=1) + "\n")


def _read(path: Path) -> dict[str, Any]:
    try:
        kept = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
