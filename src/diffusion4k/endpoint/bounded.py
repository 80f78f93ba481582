"""An HTTP client that no answer can fill the memory of, and that follows nobody elsewhere.

Answers are counted as they come. They are asked for uncompressed; one that is compressed all the
same may be small only, as a thousandth of what it unpacks to can come. Redirects are not followed:
a request carries pictures, which are for the endpoint that was named and no other host.
"""

from collections.abc import AsyncIterator
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from openai import DefaultAsyncHttpxClient

__all__ = ["TooLargeError", "bounded_client"]

_MOST_BYTES = 1 << 24  # of a completion, which is text
_MOST_COMPRESSED = 1 << 16
_MOST_OF_FILE = 1 << 30  # of a batch's answers
_FILES = "/files/"


class TooLargeError(Exception):
    """An answer with more bytes than any possible one."""


def bounded_client() -> "DefaultAsyncHttpxClient":
    """An HTTP client for `openai.AsyncOpenAI`, of whichever library that works with."""
    from openai import DefaultAsyncHttpxClient

    base = next(kind for kind in DefaultAsyncHttpxClient.__mro__ if kind.__name__ == "AsyncClient")
    library: Any = import_module(base.__module__.partition(".")[0])

    class Counted(library.AsyncByteStream):
        def __init__(self, stream: Any, most: int) -> None:
            self._stream, self._left = stream, most

        async def __aiter__(self) -> AsyncIterator[bytes]:
            async for part in self._stream:
                self._left -= len(part)
                if self._left < 0:
                    raise TooLargeError(
                        "the answer is endless, or does not belong to this question"
                    )
                yield part

        async def aclose(self) -> None:
            await self._stream.aclose()

    class Bounded(DefaultAsyncHttpxClient):
        async def send(self, request: Any, *, stream: bool = False, **options: Any) -> Any:
            response = await super().send(request, stream=True, **options)
            most = _MOST_OF_FILE if _FILES in request.url.path else _MOST_BYTES
            if response.headers.get("content-encoding", "identity") != "identity":
                most = _MOST_COMPRESSED
            response.stream = Counted(response.stream, most)
            if not stream:
                try:
                    await response.aread()
                finally:
                    await response.aclose()
            return response

    return Bounded(follow_redirects=False, headers={"Accept-Encoding": "identity"})
