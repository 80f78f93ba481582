"""Progress of sampling: bars on a terminal, now and then a line elsewhere."""

import time
from collections.abc import Callable

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from diffusion4k.sampling.request import SamplingSettings
from diffusion4k.support.progress import SECONDS_BETWEEN_LINES

__all__ = ["SamplingProgress"]


class SamplingProgress:
    """Counts steps of each image and of the whole run; use as a context manager.

    Args:
        images: settings of each image that will be made, in order.
        shown: False prints nothing.
    """

    def __init__(self, images: list[SamplingSettings], *, shown: bool = True) -> None:
        self._images = images
        self._steps = steps = [settings.denoising_steps for settings in images]
        self._of_stage = ""
        self._image = -1
        self._step = 0
        self._console = Console(stderr=True, quiet=not shown)
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            disable=not (shown and self._console.is_terminal),
            transient=True,
        )
        self._run = self._bars.add_task("all steps", total=sum(steps), visible=len(steps) > 1)
        self._current = self._bars.add_task("", visible=False)
        self._started = self._spoken = time.monotonic()

    def __enter__(self) -> "SamplingProgress":
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def stage(self, name: str) -> None:
        """Say what is being done before the first step."""
        self._say(f"{name} ...")

    def image(self) -> Callable[[str], None]:
        """The next image begins; the function says where it is, once it is on disk."""
        self._image += 1
        self._step = self._first_step = 0
        self._of_stage = ""
        self._bars.reset(
            self._current, total=self._steps[self._image], description=self._title, visible=True
        )
        self._started = time.monotonic()
        title, started = self._title, self._started

        def written(name: str) -> None:
            self._say(f"{title}: {name} ({time.monotonic() - started:.1f} s)")

        return written

    def begin_stage(self, number: int) -> None:
        """A stage of the current image begins, the first being 0; those before are done."""
        stages = self._images[self._image].stages or ()
        done = sum(stage.steps_made for stage in stages[:number])
        if done > self._step:  # Found, and not made in this run.
            self._bars.advance(self._run, done - self._step)
            self._bars.advance(self._current, done - self._step)
            self._step = self._first_step = done
        self._of_stage = f", stage {number + 1}/{len(stages)} {stages[number].name}"
        self._bars.update(self._current, description=self._title)
        self._say(f"{self._title}: {stages[number].steps_made} steps")

    def step(self) -> None:
        """One step of the current image is done."""
        self._step += 1
        self._bars.advance(self._run)
        self._bars.advance(self._current)
        if self._step == self._steps[self._image]:
            self._bars.update(self._current, description=f"{self._title}: decoding")
        now = time.monotonic()
        if self._bars.disable and now - self._spoken >= SECONDS_BETWEEN_LINES:
            rate = (now - self._started) / (self._step - self._first_step)
            left = rate * (self._steps[self._image] - self._step)
            self._say(
                f"{self._title}: step {self._step}/{self._steps[self._image]}, "
                f"{rate:.2f} s/step, {left:.0f} s left"
            )

    @property
    def _title(self) -> str:
        return f"image {self._image + 1}/{len(self._steps)}{self._of_stage}"

    def _say(self, line: str) -> None:
        self._spoken = time.monotonic()
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{1 / task.speed:.2f} s/step" if task.speed else "- s/step")
