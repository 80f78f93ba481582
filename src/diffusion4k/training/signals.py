"""SIGTERM, a terminal that closes, and Ctrl-C ask a run to stop after the step it is in."""

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import TypeAlias

from diffusion4k.errors import Diffusion4kError

__all__ = ["StopRequest", "TrainingStopped"]

_Handler: TypeAlias = Callable[[int, FrameType | None], object] | int | signal.Handlers | None


class TrainingStopped(Diffusion4kError):
    """A signal asked the run to stop, and all is saved; the exit code is 128 + signal."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + number


class StopRequest:
    """Inside the block `number` is the signal that came, or 0.

    A second signal is not held back: it ends the process at once, as it would without us.
    """

    number = 0

    def __enter__(self) -> "StopRequest":
        self._before: dict[signal.Signals, _Handler] = {}
        # Python lets only the main thread set handlers; elsewhere the caller's own apply.
        if threading.current_thread() is threading.main_thread():
            # Windows has no SIGHUP.
            names = [name for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
            for number in (signal.Signals[name] for name in names):
                # Whoever starts it with nohup wants it to continue.
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
