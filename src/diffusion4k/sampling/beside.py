"""Finishing an image, decoding and writing it, beside the steps of the next one.

Only where a GPU has both the transformer and the autoencoder (`--memory high`): on the CPU both
would wait for the same cores, and at other levels the transformer makes room for the decoder.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

import torch

__all__ = ["Finishing"]


class Finishing:
    """Finishes images one after the other; a context, at whose end all are finished.

    Args:
        device: that decodes.
        is_beside: in a thread, while the next image is made, or else at once.
    """

    def __init__(self, device: torch.device, *, is_beside: bool) -> None:
        self._pool = ThreadPoolExecutor(1) if is_beside else None
        self._running: Future[None] | None = None
        # Of its own, or the decoder would queue behind the steps.
        self._stream: Any = None
        if is_beside and device.type == "cuda":
            self._stream = torch.cuda.Stream(device)

    def __enter__(self) -> "Finishing":
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self.wait()
        finally:
            if self._pool:
                self._pool.shutdown()

    def finish(self, work: Callable[[], None]) -> None:
        """Do this work, when that of the image before is done.

        Raises:
            What the work, or that of the image before, raises.
        """
        if self._pool is None:
            work()
            return
        self.wait()
        if self._stream:
            self._stream.wait_stream(torch.cuda.current_stream(self._stream.device))
        self._running = self._pool.submit(self._do, work)

    def wait(self) -> None:
        """Until no work is left."""
        if self._running:
            running, self._running = self._running, None
            running.result()

    def _do(self, work: Callable[[], None]) -> None:
        # What stands around a call in the thread that asked does not in this one.
        with torch.no_grad(), torch.cuda.stream(self._stream) if self._stream else nullcontext():
            work()
