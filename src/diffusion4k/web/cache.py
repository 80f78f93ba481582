"""Values that are costly to make and large to keep."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

__all__ = ["BoundedCache"]

Value = TypeVar("Value")


class BoundedCache(Generic[Value]):
    """Keeps at most `limit` bytes, or the newest value alone if that is larger.

    What several threads ask for at once is made once; a failure is reported to all of them and not
    kept.
    """

    def __init__(self, limit: int, size: Callable[[Value], int]) -> None:
        self._limit, self._size = limit, size
        self._values: OrderedDict[Hashable, Future[Value]] = OrderedDict()
        self._held = 0
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """The value of `key`, made now if it is not there."""
        with self._lock:
            future = self._values.get(key)
            known = future is not None
            if future is None:
                future = self._values[key] = Future()
            self._values.move_to_end(key)
        if not known:
            try:
                value = make()
            except BaseException as error:
                with self._lock:
                    del self._values[key]
                future.set_exception(error)
            else:
                with self._lock:
                    self._held += self._size(value)
                    future.set_result(value)
                    self._shrink(key)
        return future.result()

    def peek(self, key: Hashable) -> Value | None:
        """The value of `key` if it is there."""
        with self._lock:
            future = self._values.get(key)
            return future.result() if future is not None and future.done() else None

    @property
    def bytes(self) -> int:
        """Held now."""
        with self._lock:
            return self._held

    def _shrink(self, newest: Hashable) -> None:
        """Let go of values, least recently used first."""
        leaving = []
        for key, future in self._values.items():
            if self._held <= self._limit:
                break
            # Unfinished ones are being waited for and cannot go.
            if key != newest and future.done():
                self._held -= self._size(future.result())
                leaving.append(key)
        for key in leaving:
            del self._values[key]
