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

    What several threads ask for at once is made once; a failure is told to all of them and not
    kept.
    """

    def __init__(self, limit: int, size: Callable[[Value], int]) -> None:
        self._limit, self._size = limit, size
        self._values: OrderedDict[Hashable, Future[Value]] = OrderedDict()
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
                future.set_result(make())
            except BaseException as error:
                with self._lock:
                    del self._values[key]
                future.set_exception(error)
            else:
                self._shrink(key)
        return future.result()

    @property
    def bytes(self) -> int:
        """Held now."""
        with self._lock:
            return sum(self._size(value.result()) for value in self._finished().values())

    def _shrink(self, newest: Hashable) -> None:
        with self._lock:
            finished = self._finished()
            held = sum(self._size(value.result()) for value in finished.values())
            for key, value in finished.items():
                if held <= self._limit:
                    break
                if key != newest:
                    held -= self._size(value.result())
                    del self._values[key]

    def _finished(self) -> dict[Hashable, "Future[Value]"]:
        """In the order of last use. Unfinished ones are being waited for and cannot go."""
        return {key: value for key, value in self._values.items() if value.done()}
