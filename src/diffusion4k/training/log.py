"""What a run writes down as it goes: CSV curves, progress."""

import csv
import io
import os
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from diffusion4k.files import write_text

__all__ = ["Curve", "StepProgress"]


class Curve:
    """A CSV file with one row a step, first column `step`; each row is on disk at once.

    Only numbers that the recipe determines belong here, so that an interrupted and resumed run
    leaves the very file that an uninterrupted one leaves.
    """

    def __init__(self, path: Path, columns: tuple[str, ...], *, resume_after: int = -1) -> None:
        """Rows after the step `resume_after` are dropped: the run computes them anew."""
        header = ("step", *columns)
        kept = [row for row in self.read(path) if int(row["step"]) <= resume_after]
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(
            [header, *([row[name] for name in header] for row in kept)]
        )
        write_text(path, text.getvalue())
        self._file = path.open("a", encoding="utf-8")

    def add(self, step: int, *values: float) -> None:
        """Append a row; floats keep all their digits."""
        self._file.write(",".join(map(repr, (step, *values))) + "\n")
        self._file.flush()

    def sync(self) -> None:
        """Force the rows to the disk; a checkpoint must not be newer than the curve it ends."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @staticmethod
    def read(path: Path) -> list[dict[str, str]]:
        """Rows of a curve; none if there is no file. A row cut off by a crash is left out."""
        if not path.exists():
            return []
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        whole = [line for line in lines if line.endswith("\n")]
        return [row for row in csv.DictReader(whole) if None not in (*row, *row.values())]


class StepProgress:
    """Progress bar with images/s, loss and time left; a line every ten seconds where no tty is."""

    def __init__(
        self, *, done: int, steps: int, images_per_step: int, enabled: bool = True
    ) -> None:
        self._first, self._steps, self._images = done, steps, images_per_step
        self._enabled = enabled
        self._start = self._last_line = time.monotonic()
        self._bar: Any = None

    def __enter__(self) -> "StepProgress":
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        console = Console(stderr=True)
        if self._enabled and console.is_terminal:
            columns = (TextColumn("steps"), BarColumn(), MofNCompleteColumn())
            self._bar = Progress(*columns, TextColumn("{task.fields[text]}"), console=console)
            self._task = self._bar.add_task("", total=self._steps, completed=self._first, text="")
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar:
            self._bar.stop()

    def update(self, done: int, loss: float) -> float:
        """Tell that `done` steps are done; the rate in images per second."""
        now = time.monotonic()
        per_step = (now - self._start) / (done - self._first)
        rate = self._images / per_step
        left = _clock((self._steps - done) * per_step)
        text = f"loss {loss:.4f}  {rate:.3g} images/s  {left} left"
        if self._bar:
            self._bar.update(self._task, completed=done, text=text)
        elif self._enabled and (now - self._last_line >= 10 or done == self._steps):
            self._last_line = now
            print(f"step {done}/{self._steps}  {text}", file=sys.stderr, flush=True)
        return rate


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"
